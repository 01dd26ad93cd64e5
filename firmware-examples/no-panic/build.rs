//! The program is linked and never run, so it needs no start-up code and no memory map, only a place to begin.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // A PC's linker is called by the C compiler, which would add start-up code.
    if std::env::var("TARGET").is_ok_and(|target| target.contains("-linux-")) {
        println!("cargo::rustc-link-arg-bins=-nostartfiles");
        println!("cargo::rustc-link-arg-bins=-Wl,--entry=start");
        println!("cargo::rustc-link-arg-bins=-lc"); // memcpy
    } else {
        println!("cargo::rustc-link-arg-bins=--entry=start");
    }
}
