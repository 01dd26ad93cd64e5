//! Single instructions, as the manual of PTX describes them.

use pixgen_ptx::{Buffers, FaultKind, Kernel, Launch, ParseError, Space};

/// What 32 threads store: `body` leaves a number in `%r9`, and finds the lane in `%r1`.
fn run(module: &str, body: &str) -> Result<Vec<u32>, FaultKind> {
    let text = format!(
        "{module}.visible .entry k(.param .u64 out)\n{{\nld.param.u64 %rd8, [out];\nmov.u32 %r1, %tid.x;\n{body}
        mul.wide.u32 %rd9, %r1, 4;\nadd.s64 %rd9, %rd8, %rd9;\nst.global.u32 [%rd9], %r9;\nret;\n}}\n"
    );
    let kernel = Kernel::parse(&text, "k").expect("every instruction is known");
    let mut buffers = Buffers::default();
    let out = buffers.filled(vec![0; 128]);
    let launch = Launch { grid: [1; 3], block: [32, 1, 1], dynamic_shared: 0, seed: 1 };
    kernel.run(&launch, &[buffers.argument(out)], &mut buffers).map_err(|fault| fault.kind)?;
    Ok(buffers
        .bytes(out)
        .chunks(4)
        .map(|it| u32::from_le_bytes(it.try_into().expect("four")))
        .collect())
}

const VARIABLES: &str = ".version 8.8\n.target sm_90a\n.global .align 4 .b8 bytes[8] = {1, 2, 3, 4, 5, 6, 7, 255};
.global .align 4 .u32 words[3] = {10, 0x20};\n.global .align 8 .u64 nothing;\n";
const LANE: &str = "cvt.u64.u32 %rd1, %r1;\n";

#[test]
fn variables_of_a_module_are_memory() {
    // `words[lane]` of the lanes that have one.
    let word = "mov.u64 %rd2, words;\nmul.wide.u32 %rd3, %r1, 4;\nadd.s64 %rd4, %rd2, %rd3;\nmov.u32 %r9, 77;\nsetp.lt.u32 %p1, %r1, 3;\n";
    let got = run(VARIABLES, &format!("{word}@%p1 ld.global.nc.u32 %r9, [%rd4];\n")).expect("no fault");
    assert_eq!(got[..4], [10, 32, 0, 77], "two are given, one is zero");
    // The same by an address that says its space itself, and by one back.
    for load in [
        "cvta.global.u64 %rd5, %rd4;\n@%p1 ld.u32 %r9, [%rd5];\n",
        "cvta.to.global.u64 %rd5, %rd4;\n@%p1 ld.global.u32 %r9, [%rd5];\n",
    ] {
        assert_eq!(run(VARIABLES, &format!("{word}{load}")).expect("no fault"), got);
    }
    let byte = |offset: &str| run(VARIABLES, &format!("{LANE}mov.u64 %rd2, bytes;\nld.global.s8 %r9, [%rd2+{offset}];\n"));
    assert_eq!(byte("7"), Ok(vec![u32::MAX; 32]), "with its sign");
    assert_eq!(run(VARIABLES, "ld.global.u64 %rd2, [nothing];\ncvt.u32.u64 %r9, %rd2;\n"), Ok(vec![0; 32]));
    // What lies behind a variable is not the next one.
    for offset in ["8", "-1"] {
        let fault = byte(offset).expect_err("outside");
        assert!(matches!(fault, FaultKind::OutOfBounds { space: Space::Module, bytes: 1, .. }), "{fault:?}");
    }
    let fault = run(VARIABLES, "mov.u64 %rd2, words;\nst.global.u32 [%rd2], %r1;\n").expect_err("a write");
    assert!(matches!(fault, FaultKind::VariableWritten { .. }), "{fault:?}");
    let fault = run(VARIABLES, "mov.u64 %rd2, words;\nld.global.u32 %r9, [%rd2+2];\n").expect_err("between two");
    assert!(matches!(fault, FaultKind::Misaligned { space: Space::Module, .. }), "{fault:?}");
}

/// A name that is declared nowhere is no register, and neither is a variable that begins with the address of another.
#[test]
fn names_that_are_not_known() {
    for (module, name) in [("", "table"), (".global .u64 one;\n.global .u64 two = one;\n", "two")] {
        let text = format!(
            "{module}.visible .entry k(.param .u64 out)\n{{\n.reg .b64 known;\nmov.u64 known, 1;\nmov.u64 %rd1, {name};\nret;\n}}\n"
        );
        let Err(ParseError::Unsupported { instruction, .. }) = Kernel::parse(&text, "k") else {
            panic!("{text}")
        };
        assert_eq!(instruction, format!("mov.u64 %rd1, {name}"));
    }
}

#[test]
fn one_lane_is_elected() {
    let elect = |mask: &str| format!("elect.sync %r2|%p2, {mask};\nselp.u32 %r3, 100, 0, %p2;\nadd.u32 %r9, %r2, %r3;\n");
    let of = |lanes: std::ops::Range<usize>, leader: u32| -> Vec<u32> {
        (0..32)
            .map(|lane| {
                if !lanes.contains(&lane) {
                    0
                } else {
                    leader + 100 * u32::from(lane as u32 == leader)
                }
            })
            .collect()
    };
    assert_eq!(run("", &elect("-1")), Ok(of(0..32, 0)));
    // Eight lanes by themselves.
    let some = "mov.u32 %r9, 0;\nshr.u32 %r4, %r1, 3;\nsetp.ne.u32 %p1, %r4, 1;\n@%p1 bra OVER;\n";
    assert_eq!(run("", &format!("{some}{}OVER:\n", elect("0xff00"))), Ok(of(8..16, 8)));
    // Lanes that have ended are not waited for.
    let late = "mov.u32 %r9, 0;\nsetp.lt.u32 %p1, %r1, 5;\n@%p1 exit;\n";
    assert_eq!(run("", &format!("{late}{}", elect("0xffffffff"))), Ok(of(5..32, 5)));
    // The number can be thrown away, as CubeCL does.
    let first = "{\n.reg .pred %px;\nelect.sync _|%px, 0xffffffff;\nselp.b32 %r9, 1, 0, %px;\n}\n";
    assert_eq!(run("", first).expect("no fault")[..3], [1, 0, 0]);
    assert_eq!(run("", &format!("{some}{}OVER:\n", elect("0xffff"))), Err(FaultKind::Diverged));
    assert_eq!(run("", &elect("0xff")), Err(FaultKind::Malformed));
}
