//! What a file is, by its first bytes and never by its name, and which command takes it.

use std::fmt::{self, Display, Formatter};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::atomic::keep_if_wanted;
use crate::data::format::{format_name, other_format};
use pixgen_core::pxg::MAGIC;

/// Bytes that tell every kind. The metadata of a safetensors file stand before its tensors, and class names may be many.
const HEAD: u64 = 1 << 16;
/// Where a tar archive names its format.
const USTAR: usize = 257;

/// Kinds of files and folders that users bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// A model of a chip.
    Pxg,
    /// A model file of ours, safetensors.
    Model,
    /// A state of training of ours, safetensors.
    Checkpoint,
    /// Tensors of another program, or with its names.
    Safetensors,
    /// What `torch.save` writes: a zip archive with a pickle in it.
    Pytorch,
    /// The same before PyTorch 1.6, or another pickle.
    Pickle,
    /// An ONNX graph.
    Onnx,
    /// A TFLite graph.
    Tflite,
    /// A GGUF file.
    Gguf,
    /// A numpy archive.
    Npz,
    /// A numpy array.
    Npy,
    /// A picture, with the name of its format.
    Picture(&'static str),
    /// Another zip archive.
    Zip,
    /// A tar archive.
    Tar,
    /// Packed by gzip.
    Gzip,
    /// Packed by xz, zstd or bzip2.
    Packed,
    /// Pictures or labels as MNIST has them.
    Idx,
    /// A web page.
    Html,
    /// A pointer in place of a file.
    LfsPointer,
    /// A model as source code, by `pixgen-edge export`.
    ModelSource,
    /// A folder of a run.
    RunFolder,
    /// Another folder.
    Folder,
    /// No byte.
    Empty,
    /// JSON.
    Json,
    /// Other text.
    Text,
    /// Anything else.
    Unknown,
}

/// What a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// A model file of ours.
    Model,
    /// A `.pxg` file.
    Pxg,
    /// Weights of another program.
    Weights,
    /// A data set.
    Data,
}

impl FileKind {
    /// The kind of a file or folder; `Unknown` for a pipe, which only its reader can read, once.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        if metadata.is_dir() {
            let config = fs::read(path.join("config.toml")).unwrap_or_default();
            let run = config.starts_with(b"# pixgen") || has_model(path);
            return Ok(if run { Self::RunFolder } else { Self::Folder });
        }
        if !metadata.is_file() {
            return Ok(Self::Unknown);
        }
        let mut head = Vec::new();
        File::open(path)?.take(HEAD).read_to_end(&mut head)?;
        keep_if_wanted(path);
        Ok(Self::of_bytes(&head))
    }

    /// The kind of a file that begins with these bytes; 64 KiB are enough.
    pub fn of_bytes(head: &[u8]) -> Self {
        let starts = |start: &[u8]| head.starts_with(start);
        let safetensors = head.get(8) == Some(&b'{') && head.first_chunk().is_some_and(|&length| u64::from_le_bytes(length) < 1 << 32);
        if head.is_empty() {
            Self::Empty
        } else if starts(&MAGIC) {
            Self::Pxg
        } else if safetensors {
            of_safetensors(&head[8..])
        } else if starts(b"PK\x03\x04") || starts(b"PK\x05\x06") {
            of_zip(head)
        } else if head[0] == 0x80 && (2..=5).contains(head.get(1).unwrap_or(&0)) {
            Self::Pickle
        } else if starts(b"\x93NUMPY") {
            Self::Npy
        } else if starts(&[0x1f, 0x8b]) {
            Self::Gzip
        } else if starts(b"\xfd7zXZ\0") || starts(&[0x28, 0xb5, 0x2f, 0xfd]) || starts(b"BZh") {
            Self::Packed
        } else if head.get(USTAR..USTAR + 5) == Some(b"ustar") {
            Self::Tar
        } else if let Some(format) = picture_format(head) {
            Self::Picture(format)
        } else if head.get(4..8) == Some(b"TFL3") {
            Self::Tflite
        } else if starts(b"GGUF") {
            Self::Gguf
        } else if matches!(head, [0, 0, 8 | 9 | 11..=14, 1..=4, ..]) {
            Self::Idx
        } else if matches!(head, [8, 1..=31, field, ..] if field & 7 == 2) {
            // A number, the version of the format, and then a text or a message.
            Self::Onnx
        } else {
            of_text(head)
        }
    }

    /// What to give or do instead of `path`, a file of this kind, where something else is `needed`.
    pub fn hint(self, path: &Path, needed: Needed) -> Option<String> {
        let file = quoted(path);
        if needed == Needed::Pxg
            && let Some(hint) = self.hint_for_pxg(path)
        {
            return Some(hint);
        }
        Some(match (self, needed) {
            (Self::Pxg, _) => {
                format!("`pixgen-edge sample {file}` draws from it; for anything else give the model.safetensors that it was exported from")
            }
            (Self::Model, Needed::Data) => format!("`pixgen-train sample {file}` draws from it"),
            (Self::Model, _) => format!("it needs no import: `pixgen-train sample {file}` draws from it"),
            (Self::Checkpoint, Needed::Weights) => {
                let run = quoted(run_of_checkpoint(path).unwrap_or(Path::new("RUN")));
                format!("its run needs no import: `pixgen-train sample {run}` draws from it")
            }
            (Self::Checkpoint, _) => match run_of_checkpoint(path) {
                Some(run) => format!("give the run folder instead, {}: its model.safetensors holds the averaged weights", quoted(run)),
                None => "give its run folder instead, whose model.safetensors holds the averaged weights".to_owned(),
            },
            (Self::Safetensors | Self::Pytorch | Self::Pickle, _) => {
                format!(
                    "if they are weights of the authors' code, `pixgen-train import {file} --objective diffusion --out model.safetensors` makes a model file of them (or `consistency`, as they were trained)"
                )
            }
            (Self::Onnx | Self::Tflite, _) => "graphs are written, not read: give the model.safetensors that it was made from".to_owned(),
            (Self::ModelSource, _) => format!(
                "source code is for compilers: `pixgen-edge export MODEL.safetensors -o {}` writes the same model as a file",
                quoted(&path.with_extension("pxg"))
            ),
            (Self::Gguf, _) => "GGUF files are of other networks".to_owned(),
            (Self::Npz | Self::Npy, _) => {
                "arrays are read as a reference for measuring: `pixgen-train eval MODEL --reference FILE.npz`".to_owned()
            }
            (Self::Gzip | Self::Packed, _) => "unpack it first, with gunzip, unxz, unzstd or bunzip2".to_owned(),
            (Self::Html, _) => {
                "download the file itself and not its page: on model hubs its address has `resolve` in place of `blob`".to_owned()
            }
            (Self::LfsPointer, _) => "`git lfs pull` fetches the file itself".to_owned(),
            (Self::Empty, _) => "it has no content: download or copy it again".to_owned(),
            (Self::Picture(_) | Self::Zip | Self::Tar | Self::Idx | Self::Folder, Needed::Data) => return None,
            (Self::Picture(_) | Self::Zip | Self::Tar | Self::Idx, _) => {
                // Pictures are read from a folder, and archives as they are.
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
                let data = if matches!(self, Self::Picture(_)) { folder } else { path };
                let file = quoted(data);
                format!(
                    "pictures are data: `pixgen-train data check {file}` looks at them, `pixgen-train finetune --data {file}` trains on them"
                )
            }
            (Self::RunFolder, Needed::Weights) if has_model(path) => {
                format!("it needs no import: `pixgen-train sample {file}` draws from it")
            }
            (Self::RunFolder, _) => format!("it has no model.safetensors yet: `pixgen-train report {file}` shows how far the run is"),
            (Self::Folder | Self::Json | Self::Text | Self::Unknown, Needed::Weights) => {
                "give a PyTorch file (.pth, .pt, .ckpt) or a safetensors file".to_owned()
            }
            (Self::Folder, _) => match inside(path, has_model) {
                Some(run) => format!("the run folder {} in it has one", quoted(&run)),
                None => "give a model.safetensors, or a run folder that holds one".to_owned(),
            },
            (Self::Json | Self::Text | Self::Unknown, Needed::Data) => return None,
            (Self::Json | Self::Text | Self::Unknown, _) => "give a model.safetensors, or a run folder that holds one".to_owned(),
        })
    }

    /// The hint where a `.pxg` file is needed, and this is one's source, or where one may be.
    fn hint_for_pxg(self, path: &Path) -> Option<String> {
        const MAKES_ONE: &str = "`pixgen-edge export MODEL.safetensors -o MODEL.pxg` makes one";
        let made_of = |model: &Path| format!("`pixgen-edge export {} -o model.pxg` makes one of it", quoted(model));
        let is_pxg = |path: &Path| path.extension().is_some_and(|it| it == "pxg") && Self::of(path).is_ok_and(|kind| kind == Self::Pxg);
        Some(match self {
            Self::Model => made_of(path),
            Self::RunFolder | Self::Folder => {
                if let Some(pxg) = inside(path, is_pxg) {
                    format!("give the file in it, {}", quoted(&pxg))
                } else if has_model(path) {
                    made_of(path)
                } else if let Some(run) = inside(path, has_model) {
                    format!("a run folder is in it: {}", made_of(&run))
                } else if self == Self::Folder {
                    MAKES_ONE.to_owned()
                } else {
                    return None;
                }
            }
            Self::Checkpoint => format!("it is a part of a run: {}", made_of(run_of_checkpoint(path).unwrap_or(Path::new("RUN")))),
            Self::Onnx | Self::Tflite => format!("graphs are written, not read: {MAKES_ONE}"),
            Self::Json | Self::Text | Self::Unknown => MAKES_ONE.to_owned(),
            _ => return None,
        })
    }
}

impl Display for FileKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pxg => "a .pxg file",
            Self::Model => "a model file of Pixgen",
            Self::Checkpoint => "a checkpoint of Pixgen",
            Self::Safetensors => "a safetensors file of another program",
            Self::Pytorch => "a PyTorch file",
            Self::Pickle => "a pickle of Python",
            Self::Onnx => "an ONNX graph",
            Self::Tflite => "a TFLite graph",
            Self::Gguf => "a GGUF file",
            Self::Npz => "a numpy archive",
            Self::Npy => "a numpy array",
            Self::Picture(format) => return write!(f, "a picture ({format})"),
            Self::Zip => "a zip archive",
            Self::Tar => "a tar archive",
            Self::Gzip => "a file packed by gzip",
            Self::Packed => "a packed file",
            Self::Idx => "an IDX file",
            Self::Html => "a web page",
            Self::LfsPointer => "a pointer to a file of Git LFS",
            Self::ModelSource => "source code with a model in it",
            Self::RunFolder => "a run folder",
            Self::Folder => "a folder",
            Self::Empty => "an empty file",
            Self::Json => "JSON",
            Self::Text => "text",
            Self::Unknown => "a file of a kind that Pixgen does not know",
        })
    }
}

/// `header` is the JSON, or the beginning of it.
fn of_safetensors(header: &[u8]) -> FileKind {
    let has = |text: &str| header.windows(text.len()).any(|at| at == text.as_bytes());
    if header.starts_with(b"{\"__metadata__\":{\"crc32\":\"") {
        FileKind::Checkpoint
    } else if has("\"pixgen\":") {
        FileKind::Model
    } else {
        FileKind::Safetensors
    }
}

/// Formats of pictures that are read, and of others.
fn picture_format(head: &[u8]) -> Option<&'static str> {
    format_name(head).or_else(|| other_format(head))
}

/// By the names of the first entries.
fn of_zip(head: &[u8]) -> FileKind {
    let start = &head[..head.len().min(1024)];
    let has = |text: &[u8]| start.windows(text.len()).any(|at| at == text);
    if has(b"data.pkl") || has(b".format_version") {
        FileKind::Pytorch
    } else if has(b".npy") {
        FileKind::Npz
    } else {
        FileKind::Zip
    }
}

fn of_text(head: &[u8]) -> FileKind {
    let text = match str::from_utf8(head) {
        Ok(text) => text,
        // Cut in the middle of a letter.
        Err(error) if error.error_len().is_none() => str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default(),
        Err(_) => return FileKind::Unknown,
    };
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let lower: String = text.chars().take(64).collect::<String>().to_lowercase();
    let source = ["/*", "//"].iter().any(|comment| text.starts_with(comment))
        && text.lines().next().is_some_and(|line| line.contains("Made by pixgen-edge export"));
    if text.contains('\0') {
        FileKind::Unknown
    } else if text.starts_with("version https://git-lfs") {
        FileKind::LfsPointer
    } else if lower.starts_with("<!doctype html") || lower.starts_with("<html") {
        FileKind::Html
    } else if source {
        FileKind::ModelSource
    } else if text.starts_with(['{', '[']) {
        FileKind::Json
    } else {
        FileKind::Text
    }
}

/// The run whose `checkpoints` a file lies in.
fn run_of_checkpoint(path: &Path) -> Option<&Path> {
    let folder = path
        .parent()
        .filter(|folder| folder.file_name().is_some_and(|name| name == "checkpoints"))?;
    folder.parent().filter(|run| !run.as_os_str().is_empty())
}

fn has_model(folder: &Path) -> bool {
    folder.join("model.safetensors").exists()
}

/// The first file or folder in a folder that is what is `wanted`.
fn inside(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths.into_iter().find(|path| wanted(path))
}

/// A path as a shell takes it.
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zip(name: &str) -> Vec<u8> {
        let mut bytes = b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
        bytes.extend((name.len() as u16).to_le_bytes());
        bytes.extend([0, 0]);
        bytes.extend(name.as_bytes());
        bytes
    }

    fn safetensors(header: &str) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()
    }

    #[test]
    fn every_kind_is_known_by_its_first_bytes() {
        let mut tar = vec![b'a'; USTAR];
        tar.extend(b"ustar\0");
        let cases: Vec<(Vec<u8>, FileKind)> = vec![
            (vec![], FileKind::Empty),
            (MAGIC.to_vec(), FileKind::Pxg),
            (safetensors("{\"__metadata__\":{\"pixgen\":\"{}\"}}"), FileKind::Model),
            (safetensors("{\"__metadata__\":{\"format\":\"pt\",\"pixgen\":\"{}\"}}"), FileKind::Model),
            (safetensors("{\"__metadata__\":{\"crc32\":\"00000000\"}}"), FileKind::Checkpoint),
            (safetensors("{\"x\":{\"dtype\":\"F32\"}}"), FileKind::Safetensors),
            (zip("archive/data.pkl"), FileKind::Pytorch),
            (zip("mu.npy"), FileKind::Npz),
            (zip("cats/1.png"), FileKind::Zip),
            (b"\x80\x02\x8a\x0a".to_vec(), FileKind::Pickle),
            (b"\x93NUMPY\x01\0".to_vec(), FileKind::Npy),
            (b"\x1f\x8b\x08".to_vec(), FileKind::Gzip),
            (b"\xfd7zXZ\0".to_vec(), FileKind::Packed),
            (b"BZh9".to_vec(), FileKind::Packed),
            (tar, FileKind::Tar),
            (b"\x89PNG\r\n\x1a\n".to_vec(), FileKind::Picture("PNG")),
            (b"\xff\xd8\xff\xe0".to_vec(), FileKind::Picture("JPEG")),
            (b"GIF89a".to_vec(), FileKind::Picture("GIF")),
            (b"RIFF\0\0\0\0WEBP".to_vec(), FileKind::Picture("WebP")),
            (b"\x1c\0\0\0TFL3".to_vec(), FileKind::Tflite),
            (b"GGUF\x03".to_vec(), FileKind::Gguf),
            (vec![0, 0, 8, 3, 0, 0, 0, 1], FileKind::Idx),
            (b"\x08\x08\x12\x07pytorch".to_vec(), FileKind::Onnx),
            (b"\n <!DOCTYPE html><html>".to_vec(), FileKind::Html),
            (b"<HTML lang=en>".to_vec(), FileKind::Html),
            (b"version https://git-lfs.github.com/spec/v1\noid".to_vec(), FileKind::LfsPointer),
            (b"\xef\xbb\xbf{\"a\": 1}".to_vec(), FileKind::Json),
            (b"[1]".to_vec(), FileKind::Json),
            (b"some text".to_vec(), FileKind::Text),
            (b"BMW and other makers of cars".to_vec(), FileKind::Text),
            (b"\0\0\0\x18ftypheic".to_vec(), FileKind::Picture("HEIC")),
            ("bl\u{fc}".as_bytes()[..3].to_vec(), FileKind::Text),
            (b"\x01\x02\xfe\xff".to_vec(), FileKind::Unknown),
            (b"a\0b".to_vec(), FileKind::Unknown),
        ];
        for (bytes, kind) in cases {
            assert_eq!(FileKind::of_bytes(&bytes), kind, "{:?}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn what_is_written_here_is_known_here() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("m");
        for (format, kind) in [
            (crate::pxg_file::PxgFormat::CHeader, FileKind::ModelSource),
            (crate::pxg_file::PxgFormat::Rust, FileKind::ModelSource),
        ] {
            crate::pxg_file::write(&path, &[1, 2, 3], format, "a model", None).expect("writes");
            assert_eq!(FileKind::of(&path).expect("reads"), kind);
        }
        assert_eq!(FileKind::of(folder.path()).expect("reads"), FileKind::Folder);
        fs::create_dir(folder.path().join("my run")).expect("folder");
        let hint = || FileKind::Folder.hint(folder.path(), Needed::Model).expect("hint");
        assert!(hint().contains("or a run folder"), "{}", hint());
        fs::write(folder.path().join("my run/model.safetensors"), "x").expect("writes");
        assert!(hint().contains("my run' in it"), "{}", hint());
        assert_eq!(FileKind::of(&folder.path().join("my run")).expect("reads"), FileKind::RunFolder);
        assert!(FileKind::of(&folder.path().join("none")).is_err());
    }

    #[test]
    fn where_a_chip_file_is_needed_the_hint_leads_to_one() {
        let folder = tempfile::tempdir().expect("folder");
        let hint = |path: &Path| {
            FileKind::of(path)
                .expect("reads")
                .hint(path, Needed::Pxg)
                .unwrap_or_else(|| panic!("{}: no hint", path.display()))
        };
        let says = |path: &Path, what: &str| assert!(hint(path).contains(what), "{}", hint(path));
        let run = folder.path().join("run");
        fs::create_dir_all(run.join("checkpoints")).expect("folders");
        says(folder.path(), "export MODEL.safetensors");
        fs::write(run.join("config.toml"), "# pixgen").expect("writes");
        says(&run, "no model.safetensors yet");
        fs::write(run.join("model.safetensors"), safetensors("{\"__metadata__\":{\"pixgen\":\"{}\"}}")).expect("writes");
        let exports_run = format!("export {} -o model.pxg", quoted(&run));
        says(&run, &exports_run);
        says(folder.path(), &exports_run);
        let checkpoint = run.join("checkpoints/1.safetensors");
        fs::write(&checkpoint, safetensors("{\"__metadata__\":{\"crc32\":\"00000000\"}}")).expect("writes");
        says(&checkpoint, &exports_run);
        // A name alone is no file of a chip.
        fs::write(folder.path().join("a.pxg"), "text").expect("writes");
        says(folder.path(), &exports_run);
        fs::write(folder.path().join("b.pxg"), MAGIC).expect("writes");
        says(folder.path(), "b.pxg");
        let graph = folder.path().join("graph");
        fs::write(&graph, b"\x08\x08\x12\x07pytorch").expect("writes");
        says(&graph, "export MODEL.safetensors");
        // An import takes weights of others only.
        let weights = |path: &Path| FileKind::of(path).expect("reads").hint(path, Needed::Weights).expect("hint");
        assert!(weights(&run).contains("no import") && weights(&checkpoint).contains("no import"));
        assert!(weights(folder.path()).contains("PyTorch"));
    }
}
