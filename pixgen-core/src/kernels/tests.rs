//! Kernels of the host against plain loops; those of chips run the same cases in firmware-examples/kernel-conformance.

use super::portable::Portable;
use super::*;

#[test]
fn portable_equals_plain_loops() {
    assert_eq!(cases::check::<Portable>(2000), Ok(()));
}

#[test]
fn native_equals_plain_loops() {
    assert_eq!(cases::check::<Native>(2000), Ok(()));
}
