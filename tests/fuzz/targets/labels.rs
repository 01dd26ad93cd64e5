//! Any bytes as `dataset.json`, and as `.cls` and `.json` beside the pictures of a tar archive. A first byte says which.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pixgen_edge::data::tar::list_bytes;
use std::path::Path;

/// A picture's first bytes; none is decoded.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

fuzz_target!(|bytes: &[u8]| {
    pixgen_fuzz::one_thread();
    let Some((&which, rest)) = bytes.split_first() else { return };
    let name = ["dataset.json", "a.cls", "a.json"][usize::from(which) % 3];
    let mut files = vec![("a.png", PNG), ("0/b.png", PNG), (name, rest)];
    if which & 128 != 0 {
        files.push(("0/b.cls", b"0"));
    }
    match list_bytes(Path::new("data.tar"), tar(&files)) {
        Ok(listing) => {
            let classes = listing.class_names().len();
            assert!(listing.labels().iter().all(|&label| usize::from(label) < classes));
        }
        Err(error) => drop((error.to_string(), error.hint())),
    }
});

/// An archive without check sums that would cost time: the reader only wants one in the header.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, content) in files {
        let mut header = [0u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[156] = b'0';
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().copied().map(u32::from).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend(header);
        out.extend(*content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out
}
