//! The program is linked and never run, so it needs no start-up code and no memory map, only a place to begin.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=--entry=start");
}
