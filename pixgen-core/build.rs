//! Chooses the int8 kernels (src/kernels) for the target: `cfg(kernel = "...")`.
//!
//! Target features such as `dsp` and `mve` are invisible to `cfg` on stable Rust, so the name of the target decides, and a feature of
//! this crate where the name says too little.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!(r#"cargo::rustc-check-cfg=cfg(kernel, values("portable", "dsp", "mve", "armv6m", "armv7m", "riscv32"))"#);
    let target = env::var("TARGET").unwrap_or_default();
    let feature = |name: &str| env::var_os(format!("CARGO_FEATURE_{name}")).is_some();
    let kernel = match target.split('-').next().unwrap_or_default() {
        "thumbv6m" | "thumbv8m.base" => "armv6m",
        "thumbv7m" => "armv7m",
        "thumbv7em" => "dsp",
        "thumbv8m.main" if feature("MVE") => "mve",
        "thumbv8m.main" if feature("DSP") => "dsp",
        "thumbv8m.main" => "armv7m",
        cpu if cpu.starts_with("riscv32im") => "riscv32",
        _ => "portable",
    };
    println!("cargo::rustc-cfg=kernel=\"{kernel}\"");
    // Where there is a system, so that a program can find out what its CPU has, or one vector extension that all of it is built for.
    println!("cargo::rustc-check-cfg=cfg(host_kernels)");
    let features = env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    let simd128 = target.starts_with("wasm32-") && features.split(',').any(|feature| feature == "simd128");
    let system = env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os != "none" && os != "unknown");
    if system || simd128 {
        println!("cargo::rustc-cfg=host_kernels");
    }
}
