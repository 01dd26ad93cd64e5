//! Mistakes that are put into a kernel's PTX on purpose. Each must be found, or the interpreter would let them pass in new kernels too.

/// A kind of mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mistake {
    /// A barrier of the block is gone.
    NoBarrier,
    /// A wait for asynchronous copies is gone.
    NoWait,
    /// Results are stored without asking whether their row exists.
    NoBound,
    /// The first two lanes of an operand of a tensor core are swapped.
    SwappedLanes,
}

/// Every text with one mistake, and the line that it is in.
pub fn mistakes(module: &str) -> Vec<(Mistake, usize, String)> {
    let lines: Vec<&str> = module.lines().collect();
    let mut found = Vec::new();
    let mut put = |mistake, index: usize, instead: String| {
        let mut text = lines.clone();
        text[index] = &instead;
        found.push((mistake, index + 1, text.join("\n")));
    };
    for (index, line) in lines.iter().enumerate() {
        let words = line.trim_start();
        if words.starts_with("bar.sync") {
            put(Mistake::NoBarrier, index, String::new());
        } else if let Some(instead) = without_wait(line) {
            put(Mistake::NoWait, index, instead);
        }
    }
    let store = lines.iter().position(|line| line.trim_start().starts_with("st.global"));
    let guard = store.and_then(|store| {
        lines[..store]
            .iter()
            .rposition(|line| line.trim_start().starts_with('@') && line.contains("bra"))
    });
    if let Some(guard) = guard {
        put(Mistake::NoBound, guard, String::new());
    }
    let loads = |line: &&str| {
        ["ldmatrix", "wmma.load.a", "wmma.load.b"]
            .iter()
            .any(|name| line.trim_start().starts_with(name))
    };
    if let Some(index) = lines.iter().position(loads) {
        put(Mistake::SwappedLanes, index, format!("{}\n{}", lines[index], swap(lines[index])));
    }
    found
}

/// The line with a test of a barrier that is always true; `None` if it has no test.
fn without_wait(line: &str) -> Option<String> {
    let start = ["mbarrier.try_wait", "mbarrier.test_wait"].iter().find_map(|name| line.find(name))?;
    let end = start + line[start..].find(';')?;
    let predicate = line[start..end].split_whitespace().nth(1)?.trim_end_matches(',');
    Some(format!("{}mov.pred {predicate}, 1{}", &line[..start], &line[end..]))
}

/// Swaps lanes 0 and 1 of the first register that a line loads.
fn swap(load: &str) -> String {
    let register = load.split(['{', ',']).nth(1).unwrap_or_default().trim();
    format!(
        "mov.u32 %swap1, %laneid; setp.lt.u32 %swap2, %swap1, 2; selp.u32 %swap3, 1, 0, %swap2; xor.b32 %swap3, %swap3, %swap1; \
         shfl.sync.idx.b32 {register}, {register}, %swap3, 31, -1;"
    )
}
