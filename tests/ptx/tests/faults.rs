//! A product of tiles as a tensor core makes it, right in any order of the warps, and every mistake in it found.

use pixgen_ptx::{Buffers, Fault, FaultKind, Hazard, Kernel, Launch, Space, brain, to_brain};

/// `d[warp] = a b` of 16 x 16 and 16 x 8 (stored by columns), of which `rows` are wanted. Warp 1 fetches `a` and warp 0 fetches `b`.
const TILE: &str = "
.version 8.0
.target sm_80
.address_size 64
.extern .shared .align 16 .b8 tiles[];
.visible .entry tile(.param .u64 p_a, .param .u64 p_b, .param .u64 p_d, .param .u32 p_rows)
{
	ld.param.u64 %rd1, [p_a];
	ld.param.u64 %rd2, [p_b];
	ld.param.u64 %rd3, [p_d];
	ld.param.u32 %r9, [p_rows];
	mov.u32 %r1, %tid.x;
	and.b32 %r2, %r1, 31;
	shr.u32 %r3, %r1, 5;
	mov.u32 %r4, tiles;
	shl.b32 %r5, %r2, 4;
	cvt.u64.u32 %rd4, %r5;
	setp.eq.u32 %p1, %r3, 0;
	@%p1 bra FETCH_B;
	add.s32 %r6, %r4, %r5;
	add.s64 %rd5, %rd1, %rd4;
	cp.async.cg.shared.global [%r6], [%rd5], 16;
	bra.uni FETCHED;
FETCH_B:
	setp.ge.u32 %p2, %r2, 16;
	@%p2 bra FETCHED;
	add.s32 %r6, %r4, %r5;
	add.s64 %rd5, %rd2, %rd4;
	cp.async.cg.shared.global [%r6+512], [%rd5], 16;
FETCHED:
	cp.async.commit_group;
	cp.async.wait_group 0;
	bar.sync 0;
	and.b32 %r10, %r2, 15;
	shl.b32 %r10, %r10, 5;
	shr.u32 %r11, %r2, 4;
	shl.b32 %r11, %r11, 4;
	add.s32 %r12, %r4, %r10;
	add.s32 %r12, %r12, %r11;
	ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r20, %r21, %r22, %r23}, [%r12];
	and.b32 %r13, %r2, 7;
	shl.b32 %r13, %r13, 5;
	bfe.u32 %r14, %r2, 3, 1;
	shl.b32 %r14, %r14, 4;
	add.s32 %r15, %r4, %r13;
	add.s32 %r15, %r15, %r14;
	ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r24, %r25}, [%r15+512];
	mov.f32 %f0, 0f00000000;
	mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f1, %f2, %f3, %f4}, {%r20, %r21, %r22, %r23}, {%r24, %r25}, {%f0, %f0, %f0, %f0};
	shr.u32 %r30, %r2, 2;
	and.b32 %r31, %r2, 3;
	mul.lo.s32 %r32, %r3, %r9;
	add.s32 %r33, %r32, %r30;
	shl.b32 %r34, %r33, 5;
	shl.b32 %r35, %r31, 3;
	add.s32 %r36, %r34, %r35;
	cvt.u64.u32 %rd6, %r36;
	add.s64 %rd7, %rd3, %rd6;
	setp.ge.u32 %p3, %r30, %r9;
	@%p3 bra DONE;
	st.global.v2.f32 [%rd7], {%f1, %f2};
	add.s32 %r37, %r30, 8;
	setp.ge.u32 %p4, %r37, %r9;
	@%p4 bra DONE;
	st.global.v2.f32 [%rd7+256], {%f3, %f4};
DONE:
	ret;
}
";

/// With a barrier in memory instead of a group and a barrier of the block: it counts 64 threads, and the copies arrive too.
fn with_barrier() -> String {
    let wait = "
	mbarrier.arrive.shared::cta.b64 %rd20, [%r4+768];
WAIT:
	mbarrier.try_wait.shared.b64 %p9, [%r4+768], %rd20;
	@!%p9 bra WAIT;";
    let begin = "mov.u32 %r4, tiles;
	mov.u32 %r40, 64;
	setp.eq.u32 %p8, %r1, 0;
	@%p8 mbarrier.init.shared.b64 [%r4+768], %r40;
	bar.sync 0;";
    TILE.replace("\tcp.async.commit_group;\n", "\tcp.async.mbarrier.arrive.shared::cta.b64 [%r4+768];\n")
        .replace("\tcp.async.wait_group 0;\n\tbar.sync 0;", wait)
        .replace("mov.u32 %r4, tiles;", begin)
}

const ROWS: usize = 13;

/// Runs a text; returns the largest error of both warps' results.
fn run(text: &str, seed: u64) -> Result<f32, Fault> {
    let kernel = Kernel::parse(text, "tile").expect("every instruction is known");
    let value = |index: usize| brain(to_brain(((index * 37 + 11) % 64) as f32 / 16.0 - 2.0));
    let (a, b): (Vec<f32>, Vec<f32>) = ((0..256).map(value).collect(), (256..384).map(value).collect());
    let stored = |values: &[f32]| values.iter().flat_map(|it| (to_brain(*it) as u16).to_le_bytes()).collect::<Vec<u8>>();
    let mut buffers = Buffers::default();
    let (pa, pb, pd) = (buffers.filled(stored(&a)), buffers.filled(stored(&b)), buffers.empty(2 * ROWS * 8 * 4));
    let mut arguments = [pa, pb, pd].map(|id| buffers.argument(id)).to_vec();
    arguments.push((ROWS as u32).to_le_bytes().to_vec());
    let launch = Launch { grid: [1, 1, 1], block: [64, 1, 1], dynamic_shared: 776, seed };
    kernel.run(&launch, &arguments, &mut buffers)?;
    let got = buffers.bytes(pd).chunks(4).map(|it| f32::from_le_bytes(it.try_into().expect("four")));
    Ok(got.enumerate().fold(0.0, |worst: f32, (index, got)| {
        let (row, column) = (index / 8 % ROWS, index % 8);
        let want: f32 = (0..16).map(|k| a[16 * row + k] * b[16 * column + k]).sum();
        worst.max((got - want).abs())
    }))
}

fn without(text: &str, line: &str) -> String {
    assert!(text.contains(line), "{line}");
    text.replacen(line, "", 1)
}

#[test]
fn a_right_kernel_is_right_in_any_order() {
    for seed in 0..50 {
        assert_eq!(run(TILE, seed), Ok(0.0));
        assert_eq!(run(&with_barrier(), seed), Ok(0.0));
    }
}

#[test]
fn a_missing_barrier_is_found() {
    let text = without(TILE, "bar.sync 0;");
    let mut races = 0;
    for seed in 0..50 {
        match run(&text, seed).expect_err("whatever the order").kind {
            FaultKind::Race { hazard: Hazard::ReadAfterWrite, .. } => races += 1,
            FaultKind::CopyInFlight { .. } | FaultKind::Uninitialised { space: Space::Shared, .. } => {}
            other => panic!("{other:?}"),
        }
    }
    // In some orders the numbers would have been right.
    assert!(races > 0);
}

#[test]
fn a_missing_wait_is_found() {
    for seed in 0..50 {
        let kind = run(&without(TILE, "cp.async.wait_group 0;"), seed).expect_err("whatever the order").kind;
        assert!(matches!(kind, FaultKind::CopyInFlight { .. }), "{kind:?}");
    }
    let text = without(&with_barrier(), "@!%p9 bra WAIT;");
    for seed in 0..50 {
        let kind = run(&text, seed).expect_err("whatever the order").kind;
        let named = matches!(kind, FaultKind::CopyInFlight { .. } | FaultKind::Race { .. } | FaultKind::Uninitialised { .. });
        assert!(named, "{kind:?}");
    }
    // The wait is there and the copies do not arrive at what is waited for.
    let text = without(&with_barrier(), "cp.async.mbarrier.arrive.shared::cta.b64 [%r4+768];");
    assert!(matches!(run(&text, 1).expect_err("no arrival").kind, FaultKind::CopyInFlight { .. }));
}

#[test]
fn a_missing_bound_is_found() {
    let text = without(TILE, "@%p4 bra DONE;");
    let line = 1 + text.lines().position(|line| line.contains("[%rd7+256]")).expect("the second store");
    let fault = run(&text, 1).expect_err("rows 13 to 15");
    assert!(matches!(fault.kind, FaultKind::OutOfBounds { space: Space::Global, bytes: 8, .. }), "{fault}");
    assert_eq!((fault.warp, fault.lane), (1, Some(20)), "row 5 + 8 of the second warp");
    let want = format!("tile, line {line}, `st.global.v2.f32 [%rd7+256], {{%f3, %f4}}`: 8 bytes at Global");
    assert!(fault.to_string().starts_with(&want), "{fault}");
    let shared = run(&TILE.replace("[%r15+512]", "[%r15+768]"), 1).expect_err("beyond the tiles");
    assert!(
        matches!(shared.kind, FaultKind::OutOfBounds { space: Space::Shared, .. } | FaultKind::Uninitialised { .. }),
        "{shared}"
    );
}

#[test]
fn swapped_lanes_of_a_fragment_are_a_wrong_answer() {
    let load = "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r24, %r25}, [%r15+512];";
    let swap = "
	setp.lt.u32 %p7, %r2, 2;
	selp.u32 %r50, 1, 0, %p7;
	xor.b32 %r50, %r50, %r2;
	shfl.sync.idx.b32 %r24, %r24, %r50, 31, -1;";
    assert!(run(&TILE.replace(load, &format!("{load}{swap}")), 1).expect("no fault") > 0.1);
}

#[test]
fn mistakes_with_barriers_are_named() {
    let kind = |text: &str| run(text, 3).expect_err("a fault").kind;
    let base = with_barrier();
    assert!(matches!(
        kind(&without(&base, "@%p8 mbarrier.init.shared.b64 [%r4+768], %r40;")),
        FaultKind::Uninitialised { .. }
    ));
    assert!(matches!(kind(&base.replace("mov.u32 %r40, 64;", "mov.u32 %r40, 65;")), FaultKind::Deadlock));
    // Warp 0 waits alone, until the other has ended.
    let alone = kind(&TILE.replace("\tbar.sync 0;", "\t@%p1 bar.sync 0;"));
    assert!(
        matches!(alone, FaultKind::CopyInFlight { .. } | FaultKind::Race { .. } | FaultKind::Uninitialised { .. }),
        "{alone:?}"
    );
    assert!(matches!(
        kind(&TILE.replace("\tbar.sync 0;", "\tsetp.lt.u32 %p9, %r2, 7;\n@%p9 bar.sync 0;")),
        FaultKind::Diverged
    ));
    assert!(matches!(kind(&TILE.replace("[%r12]", "[%r12+8]")), FaultKind::Misaligned { space: Space::Shared, .. }));
}
