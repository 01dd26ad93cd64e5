//! From the text of a PTX module to the statements of one kernel.

use std::collections::{HashMap, HashSet};
use std::fmt;

/// A statement: `@!%p1 add.s32 %r1, %r2, 3;`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Line of the text, from 1.
    pub line: usize,
    /// Predicate, and whether it is negated.
    pub predicate: Option<(String, bool)>,
    /// `add.s32` as its parts.
    pub opcode: Vec<String>,
    /// Operands, braces and brackets included.
    pub operands: Vec<String>,
    /// All of it, for messages.
    pub text: String,
}

/// A named place in shared or local memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// First byte.
    pub address: usize,
    /// Bytes; 0 for dynamic shared memory.
    pub bytes: usize,
}

/// The text of a kernel, taken apart.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// Name of the entry.
    pub name: String,
    /// Name and size of each argument, in bytes.
    pub params: Vec<(String, usize)>,
    /// Variables in shared memory. Dynamic memory comes last.
    pub shared: HashMap<String, Place>,
    /// Bytes of static shared memory, up to where dynamic memory begins.
    pub static_shared: usize,
    /// Variables in local memory.
    pub local: HashMap<String, Place>,
    /// Bytes of local memory of a thread.
    pub local_bytes: usize,
    /// Variables of the module in global memory, and what they hold.
    pub variables: Vec<(String, Vec<u8>)>,
    /// Registers whose names do not begin with `%`.
    pub named_registers: HashSet<String>,
    /// Instructions.
    pub statements: Vec<Statement>,
    /// Statement that each label stands before.
    pub labels: HashMap<String, usize>,
}

/// A text that this interpreter cannot read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseError {
    /// The module has no kernel of this name.
    NoKernel(String),
    /// An instruction that is not known.
    Unsupported {
        /// Line of the text, from 1.
        line: usize,
        /// The statement.
        instruction: String,
    },
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKernel(name) => write!(f, "the module has no kernel {name}"),
            Self::Unsupported { line, instruction } => write!(f, "line {line}: `{instruction}` is not supported"),
        }
    }
}

impl std::error::Error for ParseError {}

/// Takes the kernel `name` of a module apart.
///
/// # Errors
/// There is no such kernel.
pub fn read(text: &str, name: &str) -> Result<Source, ParseError> {
    let missing = || ParseError::NoKernel(name.to_owned());
    let mut source = Source { name: name.to_owned(), ..Source::default() };
    let clean = without_comments(text);
    let entry = clean
        .match_indices(".entry")
        .find(|(at, _)| clean[at + 6..].trim_start().split(['(', ' ', '\n']).next() == Some(name))
        .ok_or_else(missing)?
        .0;
    let open = entry + clean[entry..].find('(').ok_or_else(missing)?;
    let close = open + clean[open..].find(')').ok_or_else(missing)?;
    let begin = close + clean[close..].find('{').ok_or_else(missing)?;
    let end = begin + matching_brace(&clean[begin..]).ok_or_else(missing)?;
    for declaration in clean[..entry].split(';') {
        source.declare(declaration);
    }
    source.params = clean[open + 1..close].split(',').filter_map(param).collect();
    source.body(&clean[begin + 1..end], 1 + clean[..begin].matches('\n').count());
    // Dynamic memory begins after all that is static.
    let start = source.static_shared.next_multiple_of(128);
    for place in source.shared.values_mut().filter(|place| place.bytes == 0) {
        place.address = start;
    }
    source.static_shared = if source.shared.values().any(|place| place.bytes == 0) {
        start
    } else {
        source.static_shared
    };
    Ok(source)
}

/// The text with comments and lines for debuggers blanked, lines kept.
fn without_comments(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default();
        let first = line.split_whitespace().next().unwrap_or_default();
        if ![".loc", ".file"].contains(&first) {
            clean.push_str(line);
        }
        clean.push('\n');
    }
    clean
}

/// Offset of the brace that closes the one at 0.
fn matching_brace(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// `.param .align 4 .b8 name[40]` or `.param .u64 name`.
fn param(text: &str) -> Option<(String, usize)> {
    let (name, bytes) = array(text)?;
    Some((name, bytes))
}

/// Bytes of a type at the end of `text`, before a name.
fn element(text: &str) -> Option<usize> {
    let kind = text.split_whitespace().rev().skip(1).find(|word| word.starts_with('.'))?;
    Some(kind.trim_start_matches(|c: char| !c.is_ascii_digit()).parse::<usize>().ok()? / 8)
}

/// What a variable of so many bytes holds at first: the numbers of `value`, as in `{1, 2}`, and zeros.
fn filled(declaration: &str, value: Option<&str>, bytes: usize) -> Option<Vec<u8>> {
    let size = element(declaration)?;
    let mut content = Vec::with_capacity(bytes);
    for number in value
        .unwrap_or_default()
        .split([',', '{', '}'])
        .map(str::trim)
        .filter(|it| !it.is_empty())
    {
        content.extend_from_slice(constant(number)?.to_le_bytes().get(..size)?);
    }
    content.resize(bytes, 0);
    Some(content)
}

/// `12`, `-3`, `0x7fU`, `0f3F800000`, `0d...`, `WARP_SZ`.
pub fn constant(text: &str) -> Option<u64> {
    if text == "WARP_SZ" {
        return Some(32);
    }
    if let Some(bits) = text.strip_prefix("0f").or_else(|| text.strip_prefix("0F")) {
        return u64::from_str_radix(bits, 16).ok();
    }
    if let Some(bits) = text.strip_prefix("0d").or_else(|| text.strip_prefix("0D")) {
        return u64::from_str_radix(bits, 16).ok();
    }
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let digits = digits.trim_end_matches('U');
    let value = match digits.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok()?,
        None => digits.parse().ok()?,
    };
    Some(if negative { value.wrapping_neg() } else { value })
}

/// Name and bytes of a declaration that ends in a type and a name, the name with a number of elements or without.
fn array(text: &str) -> Option<(String, usize)> {
    let name = text.split_whitespace().next_back()?;
    let size = element(text)?;
    match name.split_once('[') {
        Some((name, count)) => Some((name.to_owned(), size * count.trim_end_matches(']').parse::<usize>().unwrap_or(0))),
        None => Some((name.to_owned(), size)),
    }
}

impl Source {
    /// A declaration of a variable in shared, local or global memory, or of registers; anything else is passed over, also a variable
    /// that begins with something else than numbers.
    fn declare(&mut self, text: &str) {
        let words: Vec<&str> = text.split_whitespace().collect();
        let Some(at) = words.iter().rposition(|word| [".shared", ".local", ".global", ".reg"].contains(word)) else {
            return;
        };
        let (space, rest) = (words[at], words[at..].join(" "));
        if space == ".reg" {
            // After the type.
            let names = words.iter().skip(at + 2).flat_map(|word| word.split(',')).filter(|name| !name.is_empty());
            self.named_registers.extend(names.map(|name| (*name).to_owned()));
            return;
        }
        let (declaration, value) = rest
            .split_once('=')
            .map_or((rest.as_str(), None), |(declaration, value)| (declaration, Some(value)));
        let Some((name, bytes)) = array(declaration) else { return };
        if space == ".global" {
            self.variables.extend(filled(declaration, value, bytes).map(|bytes| (name, bytes)));
            return;
        }
        let alignment = declaration
            .split(".align")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .unwrap_or(8);
        let (places, total) = if space == ".shared" {
            (&mut self.shared, &mut self.static_shared)
        } else {
            (&mut self.local, &mut self.local_bytes)
        };
        let address = total.next_multiple_of(alignment);
        if bytes > 0 {
            *total = address + bytes;
        }
        places.insert(name, Place { address, bytes });
    }

    /// Splits the body, whose first character is on line `line`, into statements and labels.
    fn body(&mut self, body: &str, mut line: usize) {
        for piece in body.split_inclusive(';') {
            let mut text = piece.trim_end_matches(';');
            loop {
                let rest = text.trim_start_matches(|c: char| c.is_whitespace() || c == '{' || c == '}');
                line += text[..text.len() - rest.len()].matches('\n').count();
                text = rest;
                // A label is a name before a colon that is not a part of an opcode (`shared::cta`).
                let name = text.find(|c: char| !c.is_alphanumeric() && !"_$%".contains(c)).unwrap_or(text.len());
                if name == 0 || !text[name..].starts_with(':') || text[name..].starts_with("::") {
                    break;
                }
                self.labels.insert(text[..name].to_owned(), self.statements.len());
                text = &text[name + 1..];
            }
            if text.starts_with('.') {
                self.declare(text);
            } else if let Some(statement) = statement(text, line) {
                self.statements.push(statement);
            }
            line += text.matches('\n').count();
        }
    }
}

fn statement(text: &str, line: usize) -> Option<Statement> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (predicate, rest) = match text.strip_prefix('@') {
        Some(rest) => {
            let (name, rest) = rest.split_once(' ')?;
            (Some((name.trim_start_matches('!').to_owned(), name.starts_with('!'))), rest)
        }
        None => (None, text.as_str()),
    };
    let (opcode, operands) = rest.split_once(' ').unwrap_or((rest, ""));
    if opcode.is_empty() {
        return None;
    }
    let opcode = opcode.split('.').map(str::to_owned).collect();
    Some(Statement { line, predicate, opcode, operands: list(operands), text: text.clone() })
}

/// Splits at the commas that are in no braces or brackets.
fn list(text: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0i32);
    for c in text.chars() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            _ => {}
        }
        if c == ',' && depth == 0 {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts.iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULE: &str = "
.extern .shared .align 16 .b8 dynamic[];
.visible .entry twice(
	.param .u64 twice_param_0,
	.param .align 4 .b8 twice_param_1[40]
)
{
	.reg .pred 	%p<2>;
	.shared .align 8 .b8 bar[8];
	.loc 1 2 3
	ld.param.u64 	%rd1, [twice_param_0+8]; // comment
$L__BB0_1:
	{ cvt.rn.bf16.f32 %rs1, %f1;}
	@!%p1 bra 	$L__BB0_1;
	mbarrier.arrive.shared::cta.b64 %rd2, [bar], %r1;
	ret;
}
";

    #[test]
    fn a_kernel_is_taken_apart() {
        let source = read(MODULE, "twice").unwrap();
        assert_eq!(source.params, [("twice_param_0".to_owned(), 8), ("twice_param_1".to_owned(), 40)]);
        assert_eq!(source.shared["bar"], Place { address: 0, bytes: 8 });
        assert_eq!(source.shared["dynamic"], Place { address: 128, bytes: 0 });
        assert_eq!(source.labels["$L__BB0_1"], 1);
        let lines: Vec<usize> = source.statements.iter().map(|it| it.line).collect();
        assert_eq!(lines, [11, 13, 14, 15, 16]);
        assert_eq!(source.statements[0].operands, ["%rd1", "[twice_param_0+8]"]);
        assert_eq!(source.statements[1].opcode, ["cvt", "rn", "bf16", "f32"]);
        assert_eq!(source.statements[2].predicate, Some(("%p1".to_owned(), true)));
        assert_eq!(source.statements[3].opcode, ["mbarrier", "arrive", "shared::cta", "b64"]);
        assert_eq!(read(MODULE, "thrice").unwrap_err(), ParseError::NoKernel("thrice".into()));
    }

    #[test]
    fn constants() {
        for (text, value) in [
            ("12", 12),
            ("-1", u64::MAX),
            ("0xffU", 255),
            ("0f3F800000", 0x3f80_0000),
            ("WARP_SZ", 32),
        ] {
            assert_eq!(constant(text), Some(value), "{text}");
        }
        assert_eq!(constant("%r1"), None);
    }
}
