//! Runs the kernels of pixgen-core for one kind of core against plain loops, and prints their instructions per product.
//!
//! `PIXGEN_MACHINE` is a name of `../qemu/machines.rs`; the features `dsp` and `mve` are those of pixgen-core. From this folder, with the
//! tools that `tests/run.sh firmware` installs:
//!
//! ```sh
//! PIXGEN_MACHINE=mps2-an386 ../../tests/tools/fw-cargo.sh build --release --target thumbv7em-none-eabihf
//! qemu-system-arm -M mps2-an386 -icount shift=0 -nographic -semihosting-config enable=on,target=native \
//!     -kernel target/bare-metal/thumbv7em-none-eabihf/release/kernel-conformance
//! ```
//!
//! The exit code is 0 when all sums are equal.

#![no_std]
#![no_main]

mod cost;
mod kernels;
#[path = "../../qemu/src/meter.rs"]
mod meter;

use kernels::portable::Portable;
use kernels::{NAME, Native, cases};
use meter::Meter;
use semihosting::{print, println, process};

include!(concat!(env!("OUT_DIR"), "/settings.rs"));

/// Random products for each implementation.
const CASES: u32 = 400;

#[cfg_attr(target_arch = "arm", cortex_m_rt::entry)]
#[cfg_attr(target_arch = "riscv32", riscv_rt::entry)]
fn main() -> ! {
    println!("machine {MACHINE}, kernel {NAME}");
    for (name, result) in [("portable", cases::check::<Portable>(CASES)), (NAME, cases::check::<Native>(CASES))] {
        match result {
            Ok(()) => println!("{name}: {CASES} cases equal"),
            Err(mismatch) => {
                println!("{name}: {mismatch:?}");
                process::exit(1)
            }
        }
    }
    let Some(meter) = Meter::start(CLOCK) else { process::exit(2) };
    println!("instructions per product");
    for shape in cost::SHAPES {
        print!("{:>3} x {:>3} x {:>3} {:<7}", shape.rows, shape.columns, shape.len, shape.sink.name());
        let hundredths = cost::instructions(&meter, shape) * 1000 / (shape.rows * shape.columns * shape.len) as u64;
        println!("{}.{:03}", hundredths / 1000, hundredths % 1000);
    }
    process::exit(0)
}
