//! Draws pictures on an emulated microcontroller, checks them and says what they cost.
//!
//! What it is built for comes from the environment of the build: `PIXGEN_MACHINE`, a name of `machines.rs`; `PIXGEN_MODEL`, a `.pxg`
//! file; `PIXGEN_PAIRS`, the pictures as `CLASS:SEED,...`. From this folder, with the tools that `tests/run.sh firmware` installs:
//!
//! ```sh
//! export PIXGEN_MACHINE=mps2-an386 PIXGEN_MODEL=model.pxg
//! ../../tests/tools/fw-cargo.sh build --release --target thumbv7em-none-eabihf
//! qemu-system-arm -M mps2-an386 -icount shift=0 -nographic -semihosting-config enable=on,target=native \
//!     -kernel target/bare-metal/thumbv7em-none-eabihf/release/pixgen-qemu | defmt-print -e target/bare-metal/.../pixgen-qemu
//! ```
//!
//! The log goes to the emulator's console. The exit code is 0 when everything passed.

#![no_std]
#![no_main]

mod art;
mod log;
mod meter;
mod stack;

mod settings {
    //! Written by the build script.
    include!(concat!(env!("OUT_DIR"), "/settings.rs"));
}

use heapless::LinearMap;
use meter::Meter;
use pixgen_core::Aligned;
use pixgen_core::integer::{DrawError, DrawRequest, Drawing, PictureHash, SelfTestError};
use pixgen_core::kernels;
use pixgen_core::params::{Layer, Site};
use pixgen_core::pixels::Band;
use pixgen_core::pxg::{Model, PxgError};
use semihosting::process;
use settings::{CLOCK, MACHINE, MODEL, MODEL_NAME, PAIRS, WORKSPACE};

/// Exit code of a model that does not pass.
const FAILED: i32 = 1;
/// Exit code of firmware that is broken.
const BROKEN: i32 = 2;

static mut BUFFER: Aligned<[u8; WORKSPACE]> = Aligned([0; WORKSPACE]);

#[derive(defmt::Format)]
enum Failure {
    Model(PxgError),
    SelfTest(SelfTestError),
    Draw(DrawError),
    NoTimer,
    StackOverflow,
}

#[cfg_attr(target_arch = "arm", cortex_m_rt::entry)]
#[cfg_attr(target_arch = "riscv32", riscv_rt::entry)]
fn main() -> ! {
    stack::paint();
    // SAFETY: `main` runs once, and nothing else names the buffer.
    let workspace = unsafe { &mut (*(&raw mut BUFFER)).0 };
    match run(workspace) {
        Ok(()) => process::exit(0),
        Err(failure) => {
            defmt::error!("{}", failure);
            process::exit(FAILED)
        }
    }
}

fn run(workspace: &mut [u8]) -> Result<(), Failure> {
    let meter = Meter::start(CLOCK).ok_or(Failure::NoTimer)?;
    defmt::info!("machine {=str}, kernel {=str}, model {=str}", MACHINE, kernels::NAME, MODEL_NAME);

    let model = Model::read(MODEL).map_err(Failure::Model)?;
    let vectors = model.self_test(workspace).map_err(Failure::SelfTest)?;
    defmt::info!("self-test {=usize} passed", vectors);

    for (index, &(class, seed)) in PAIRS.iter().enumerate() {
        let request = DrawRequest { class, seed, number: 0 };
        let mut hash = PictureHash::new();
        let mut show = |band: &Band<'_>| {
            hash.update(band.bytes());
            if index == 0 {
                art::print(band);
            }
        };
        model.draw(&request, workspace, &mut show).map_err(Failure::Draw)?;
        defmt::info!("picture class {=usize} seed {=u64} hash {=u64:016x}", class, seed, hash.value());
    }
    if let Some(&(class, seed)) = PAIRS.first() {
        let request = DrawRequest { class, seed, number: 0 };
        let start = meter.instructions();
        let usage = model.draw(&request, workspace, &mut |_| {}).map_err(Failure::Draw)?;
        defmt::info!("instructions {=u64}", meter.instructions() - start);
        defmt::info!("workspace {=usize} of {=usize}", usage.workspace, WORKSPACE);
        slices(&model, &request, workspace, &meter)?;
    }
    // Before the profile, whose table is nothing that a firmware needs.
    defmt::info!("stack {=usize}", stack::used().ok_or(Failure::StackOverflow)?);
    if let Some(&(class, seed)) = PAIRS.first() {
        profile(&model, &DrawRequest { class, seed, number: 0 }, workspace, meter)?;
    }
    stack::used().ok_or(Failure::StackOverflow)?;
    Ok(())
}

/// Draws in slices and logs how many there were, the instructions of the longest and of all, and the hash of the picture.
#[inline(never)]
fn slices(model: &Model<'_>, request: &DrawRequest, workspace: &mut [u8], meter: &Meter) -> Result<(), Failure> {
    let (mut drawing, mut hash) = (Drawing::new(*request), PictureHash::new());
    let (mut count, mut longest, mut all) = (0_usize, 0, 0);
    let mut complete = false;
    while !complete {
        let start = meter.instructions();
        let usage = drawing.step(model, workspace, &mut |band| hash.update(band.bytes()));
        let taken = meter.instructions() - start;
        complete = usage.map_err(Failure::Draw)?.is_some();
        (count, longest, all) = (count + 1, taken.max(longest), all + taken);
    }
    defmt::info!("slices {=usize}, longest {=u64}, all {=u64}, hash {=u64:016x}", count, longest, all, hash.value());
    Ok(())
}

/// Logs the instructions of each kind of layer, both towers and all blocks together.
#[inline(never)]
fn profile(model: &Model<'_>, request: &DrawRequest, workspace: &mut [u8], mut meter: Meter) -> Result<(), Failure> {
    let mut layers = LinearMap::<Layer, u64, 24>::new(); // there are 21 kinds
    let mut add = |site: Site, count: u64| {
        let sum = layers.get(&site.layer).copied().unwrap_or_default() + count;
        let _ = layers.insert(site.layer, sum);
    };
    model.profile(request, workspace, &mut meter, &mut add).map_err(Failure::Draw)?;
    for (layer, &count) in &layers {
        defmt::info!("layer {} instructions {=u64}", layer, count);
    }
    Ok(())
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    if let Some(place) = info.location() {
        defmt::error!("panic at {=str}:{=u32}", place.file(), place.line());
    }
    process::exit(BROKEN)
}

#[cfg(target_arch = "arm")]
#[cortex_m_rt::exception]
unsafe fn HardFault(frame: &cortex_m_rt::ExceptionFrame) -> ! {
    defmt::error!("hard fault at {=u32:#010x}", frame.pc());
    process::exit(BROKEN)
}

#[cfg(target_arch = "riscv32")]
#[unsafe(export_name = "ExceptionHandler")]
fn exception_handler(_: &riscv_rt::TrapFrame) -> ! {
    defmt::error!("exception at {=usize:#010x}", riscv::register::mepc::read());
    process::exit(BROKEN)
}
