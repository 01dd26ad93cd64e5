//! The reader of PyTorch files against what PyTorch itself makes of them (tests/gen/pytorch_files.py), and on hostile files.

use pixgen_train::weights::error::PytorchError;
use pixgen_train::weights::pytorch::{PytorchFile, convert};
use safetensors::SafeTensors;
use std::fs;
use std::path::{Path, PathBuf};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/pytorch").join(name)
}

/// Both files hold the same tensors, bit for bit.
fn assert_same(got: &Path, want: &Path) {
    let (got, want) = (fs::read(got).expect("converted"), fs::read(want).expect("wanted"));
    let (got, want) = (SafeTensors::deserialize(&got).expect("converted"), SafeTensors::deserialize(&want).expect("wanted"));
    let names = |tensors: &SafeTensors<'_>| {
        let mut names: Vec<String> = tensors.names().into_iter().map(str::to_owned).collect();
        names.sort();
        names
    };
    assert_eq!(names(&got), names(&want));
    for name in want.names() {
        let (got, want) = (got.tensor(name).expect(name), want.tensor(name).expect(name));
        assert_eq!((got.dtype(), got.shape()), (want.dtype(), want.shape()), "{name}");
        assert!(got.data() == want.data(), "{name}: other values");
    }
}

#[test]
fn both_formats_as_pytorch_reads_them() {
    let folder = tempfile::tempdir().expect("folder");
    for name in ["zip.pth", "old.pth"] {
        let out = folder.path().join("out.safetensors");
        assert_eq!(convert(&golden(name), &out).expect(name), 25, "{name}");
        assert_same(&out, &golden("want.safetensors"));
    }
}

#[test]
fn tensors_know_their_dict() {
    let checkpoint = PytorchFile::open(&golden("zip.pth")).expect("opens");
    let group = |group: &str| checkpoint.tensors().iter().filter(|t| t.group == group).count();
    assert_eq!(
        [
            group("model"),
            group("ema"),
            group("optimizer.state.0"),
            group("list"),
            group("list.1")
        ],
        [20, 2, 1, 1, 1]
    );
    let stem = checkpoint.tensors().iter().find(|t| t.key == "stem.weight").expect("stem");
    assert_eq!((stem.name().as_str(), &stem.shape[..]), ("model.stem.weight", &[4, 2, 3, 3][..]));
}

/// By hand: PIXGEN_PYTORCH_FILE=x.pth after `python3 tests/gen/pytorch_files.py x.pth`.
#[test]
#[ignore = "needs a file of one's own"]
fn a_file_of_ones_own() {
    let path = PathBuf::from(std::env::var_os("PIXGEN_PYTORCH_FILE").expect("PIXGEN_PYTORCH_FILE names a file"));
    let out = path.with_extension("converted");
    let count = convert(&path, &out).expect("converts");
    assert_same(&out, &path.with_extension("safetensors"));
    println!("{count} tensors, all equal");
}

/// Opens bytes and reads all tensors; the error.
fn refused(bytes: &[u8]) -> PytorchError {
    let file = tempfile::NamedTempFile::new().expect("file");
    fs::write(file.path(), bytes).expect("file");
    let read_all = || {
        let checkpoint = PytorchFile::open(file.path())?;
        checkpoint.tensors().iter().try_for_each(|tensor| checkpoint.read(tensor).map(drop))
    };
    let error = read_all().expect_err("refused");
    assert!(error.to_string().contains(file.path().to_str().expect("path")), "{error}");
    assert!(error.hint().is_some(), "{error}");
    error
}

/// A file of the old format around a pickle, with one storage "k" of `numbers` floats, or none.
fn old(pickle: &[u8], numbers: u64, stored: usize) -> Vec<u8> {
    let mut file = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.".to_vec();
    file.extend_from_slice(pickle);
    if numbers == 0 {
        return [&file[..], b"\x80\x02]."].concat();
    }
    file.extend_from_slice(b"\x80\x02]X\x01\0\0\0ka.");
    file.extend_from_slice(&numbers.to_le_bytes());
    file.extend(std::iter::repeat_n(0, 4 * stored));
    file
}

/// The pickle of a tensor in storage "k": offset, one size, one stride.
fn tensor(offset: i32, size: i32, stride: i32) -> Vec<u8> {
    let mut pickle =
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0kX\x03\0\0\0cpuK\x04NtQ".to_vec();
    for (number, after) in [(offset, &b""[..]), (size, b"\x85"), (stride, b"\x85")] {
        pickle.push(b'J');
        pickle.extend_from_slice(&number.to_le_bytes());
        pickle.extend_from_slice(after);
    }
    pickle.extend_from_slice(b"\x89NtR.");
    pickle
}

#[test]
fn the_hand_made_file_is_good_before_it_is_made_bad() {
    let file = tempfile::NamedTempFile::new().expect("file");
    fs::write(file.path(), old(&tensor(1, 3, 1), 4, 4)).expect("file");
    let checkpoint = PytorchFile::open(file.path()).expect("opens");
    assert_eq!(checkpoint.read(&checkpoint.tensors()[0]).expect("reads"), [0.0; 3]);
}

#[test]
fn no_code_is_run() {
    for call in [
        &b"cos\nsystem\nX\x04\0\0\0true\x85R."[..],
        b"c__builtin__\neval\nX\x01\0\0\x001\x85R.",
        b"crcm.vit\nEPGViT\n)\x81.",
    ] {
        let error = refused(&old(&[b"\x80\x02", call].concat(), 0, 0));
        assert!(
            matches!(&error, PytorchError::Code { name, .. } if ["os.system", "__builtin__.eval", "rcm.vit.EPGViT"].contains(&name.as_str())),
            "{error}"
        );
    }
}

#[test]
fn lying_sizes() {
    let cases = [
        (old(&tensor(0, 5, 1), 4, 4), "outside of its storage"),
        (old(&tensor(0, 2, 4), 4, 4), "outside of its storage"),
        (old(&tensor(i32::MAX, 1, 1), 4, 4), "outside of its storage"),
        (old(&tensor(0, i32::MAX, i32::MAX), 4, 4), "outside of its storage"),
        (old(&tensor(0, i32::MAX, 0), 4, 4), "repeats 1 numbers"),
        (old(&tensor(0, -1, 1), 4, 4), "a size or offset of -1"),
        (old(&tensor(0, 4, 1), 1 << 62, 4), "reaches beyond"),
        (old(&tensor(0, 4, 1), u64::MAX, 4), "reaches beyond"),
        (old(&tensor(0, 4, 1), 4, 3), "reaches beyond"),
        (old(b"\x80\x02X\xff\xff\xff\xff", 0, 0), "a string of 4294967295 bytes"),
        (old(b"\x80\x02\x8b\xff\xff\xff\xff", 0, 0), "a string of 4294967295 bytes"),
    ];
    for (bytes, want) in cases {
        let error = refused(&bytes).to_string();
        assert!(error.contains(want), "{want}: {error}");
    }
}

#[test]
fn containers_without_end() {
    // A list in itself; lists of ten times the list before, twenty deep; a deep nest; a list copied again and again.
    let itself = b"\x80\x02]q\0h\0a.".to_vec();
    let mut bomb = b"\x80\x02]q\0".to_vec();
    for level in 0..20u8 {
        bomb.extend_from_slice(b"](");
        bomb.extend([b'h', level].repeat(10));
        bomb.extend_from_slice(&[b'e', b'q', level + 1]);
    }
    bomb.push(b'.');
    let nest = [&b"\x80\x02"[..], &b"]".repeat(100_000), &b"a".repeat(99_999), b"."].concat();
    let mut copies = b"\x80\x02ctorch\nSize\nq\0]q\x01(".to_vec();
    copies.extend(b"K\x01".repeat(100_000));
    copies.push(b'e');
    copies.extend(b"h\0h\x01\x85R".repeat(1000));
    copies.push(b'.');
    for (bytes, want) in [
        (itself, "without end"),
        (bomb, "8 million"),
        (nest, "without end"),
        (copies, "4 million"),
    ] {
        let error = refused(&old(&bytes, 0, 0)).to_string();
        assert!(error.contains(want), "{want}: {error}");
    }
}

#[test]
fn bad_instructions() {
    for (pickle, want) in [
        (&b"\x80\x02."[..], "a value that is not there"),
        (b"\x80\x02t.", "a mark that is not there"),
        (b"\x80\x02h\x07.", "recalls value 7"),
        (b"\x80\x02(K\x01(K\x02s.", "a value that is not there"),
        (b"\x80\x02}(K\x01u.", "a key without a value"),
        (b"\x80\x02K\x01)R.", "calls something that is not a function"),
        (b"\x80\x02i", "0x69"),
        (b"\x80\x02cno", "line without end"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.", "too few arguments"),
        (b"\x80\x02)Q.", "not to a storage"),
    ] {
        let error = refused(&old(pickle, 0, 0));
        assert!(matches!(error, PytorchError::Pickle { .. }) && error.to_string().contains(want), "{want}: {error}");
    }
}

#[test]
fn truncated_and_changed_files() {
    for name in ["zip.pth", "old.pth"] {
        let whole = fs::read(golden(name)).expect("file");
        for len in (0..whole.len()).step_by(97).chain([whole.len() - 1]) {
            refused(&whole[..len]);
        }
    }
    // In a zip archive a changed number is seen, in the old format only changes of the structure are.
    let mut changed = fs::read(golden("zip.pth")).expect("file");
    let whole = PytorchFile::open(&golden("zip.pth")).expect("opens");
    let exact = whole.tensors().iter().find(|t| t.key == "half.exact").expect("tensor");
    let values: Vec<u8> = whole.read(exact).expect("reads").iter().flat_map(|&v| half_bytes(v)).collect();
    let at = changed.windows(values.len()).position(|w| w == values).expect("stored");
    changed[at] ^= 1;
    let error = refused(&changed).to_string();
    assert!(error.contains("half.exact") && error.contains("CRC-32"), "{error}");
}

/// An f32 that came from a half, as that half.
fn half_bytes(value: f32) -> [u8; 2] {
    let bits = value.to_bits();
    let exponent = ((bits >> 23) & 0xff) as i32 - 112;
    assert!((1..31).contains(&exponent), "{value} is no normal half");
    let half = ((bits >> 16) & 0x8000) | ((exponent as u32) << 10) | ((bits >> 13) & 0x3ff);
    (half as u16).to_le_bytes()
}

#[test]
fn other_files() {
    for (bytes, want) in [
        (&b""[..], "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS"),
        (b"\x80\x02}.", "without PyTorch's storages"),
        (b"\x89PNG\r\n\x1a\n", "neither as a zip archive nor as a pickle"),
    ] {
        let error = refused(bytes);
        assert!(matches!(error, PytorchError::Format { .. }) && error.to_string().contains(want), "{want}: {error}");
    }
    assert!(matches!(PytorchFile::open(Path::new("/none/x.pth")), Err(PytorchError::Read { .. })));
}
