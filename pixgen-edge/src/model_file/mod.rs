//! `model.safetensors`: the file that people exchange. Names and shapes come from the parameter list, everything else that is needed
//! to use the weights is in the metadata.

mod error;
mod header;

pub use error::{HalfError, HeaderFault, ModelFileError, TensorFault};
pub use header::{Content, FORMAT, ModelHeader};

use crate::file_error::FileError;
use crate::file_kind::FileKind;
use crate::param_set::ParamSet;
use crate::projector::RunningStatistics;
use crate::tensor_file::{self, WriteError};
use half::f16;
use header::{KEY, OPENING};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Weights with their header.
#[derive(Clone, Debug)]
pub struct ModelFile {
    /// Metadata.
    pub header: ModelHeader,
    /// Parameter list.
    pub set: ParamSet,
    /// Values, flat.
    pub params: Vec<f32>,
    /// Running statistics of the projector's norms, in an encoder file.
    pub statistics: Option<RunningStatistics>,
}

/// Writes a model file of which memory holds one tensor at a time. `values` gives those of a tensor by its position in
/// [`ModelHeader::tensors`], twice: once for the checksum, which stands before them.
///
/// # Errors
/// The error of `values`, or that of the file system.
pub fn write_streamed<E, V: AsRef<[f32]>>(
    path: &Path,
    header: &ModelHeader,
    mut values: impl FnMut(usize) -> Result<V, E>,
) -> Result<(), WriteError<E>> {
    let tensors = header.tensors();
    let mut checked = crc32fast::Hasher::new();
    for at in 0..tensors.len() {
        let values = values(at).map_err(WriteError::Values)?;
        checked.update(bytemuck::cast_slice(values.as_ref()));
    }
    let metadata = header.metadata(|rest| {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(rest.as_bytes());
        hasher.combine(&checked);
        format!("{:08x}", hasher.finalize())
    });
    let metadata = metadata.map_err(|error| WriteError::File(FileError::write(path)(error.into())))?;
    tensor_file::write(path, metadata, &tensors, values)
}

impl ModelFile {
    /// The file's bytes.
    ///
    /// # Errors
    /// The sizes of the tensors are not those of the parameter list.
    pub fn to_bytes(&self) -> Result<Vec<u8>, SafeTensorError> {
        self.serialise(Dtype::F32, bytemuck::cast_slice(&self.params))
    }

    /// The file's bytes with the parameters in f16, which takes half the space. Values are rounded to the nearest; running statistics stay f32.
    ///
    /// # Errors
    /// A value beyond the range of f16; the sizes of the tensors are not those of the parameter list.
    pub fn to_half_bytes(&self) -> Result<Vec<u8>, HalfError> {
        let halves: Vec<f16> = self.params.iter().map(|&value| f16::from_f32(value)).collect();
        let rounded = Self { params: halves.iter().map(|half| half.to_f32()).collect(), ..self.clone() };
        for entry in self.set.entries() {
            if let Some(at) = rounded.params[entry.range.clone()].iter().position(|value| !value.is_finite()) {
                return Err(HalfError::Range { tensor: entry.name.clone(), at, value: self.params[entry.range.start + at] });
            }
        }
        let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
        Ok(rounded.serialise(Dtype::F16, &bytes)?)
    }

    /// The file's bytes, of which the parameters' are `params`.
    fn serialise(&self, dtype: Dtype, params: &[u8]) -> Result<Vec<u8>, SafeTensorError> {
        let running: Vec<(String, &[f32])> = self.statistics.iter().flat_map(RunningStatistics::named).collect();
        let mut views: Vec<(String, TensorView<'_>)> = Vec::new();
        let size = dtype.bitsize() / 8;
        for entry in self.set.entries() {
            let bytes = &params[size * entry.range.start..size * entry.range.end];
            views.push((entry.name.clone(), TensorView::new(dtype, entry.dims.clone(), bytes)?));
        }
        for (name, values) in &running {
            let view = TensorView::new(Dtype::F32, vec![values.len()], bytemuck::cast_slice(values))?;
            views.push((name.clone(), view));
        }
        safetensors::serialize(views, Some(self.header.metadata(|rest| self.checksum(rest))?))
    }

    /// CRC-32 of the header's JSON behind the checksum and of all values in the order of the list, as eight hexadecimal digits.
    fn checksum(&self, header: &str) -> String {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(header.as_bytes());
        let running = self.statistics.iter().flat_map(RunningStatistics::named).map(|(_, values)| values);
        for values in std::iter::once(&self.params[..]).chain(running) {
            hasher.update(bytemuck::cast_slice(values));
        }
        format!("{:08x}", hasher.finalize())
    }

    /// Eight hexadecimal digits that differ where the header or the values do.
    pub fn fingerprint(&self) -> String {
        // A header of plain data can always be written; without its text the values alone count.
        self.checksum(&serde_json::to_string(&self.header).unwrap_or_default())
    }

    /// Sixteen hexadecimal digits that know weights again, wherever their file lies and whatever its header says: CRC-32 of names and sizes,
    /// then of the values. They do not protect against forgery.
    pub fn weights_fingerprint(&self) -> String {
        let mut head = crc32fast::Hasher::new();
        for entry in self.set.entries() {
            head.update(entry.name.as_bytes());
            head.update(format!("{:?}", entry.dims).as_bytes());
        }
        format!("{:08x}{:08x}", head.finalize(), crc32fast::hash(bytemuck::cast_slice(&self.params)))
    }

    /// Reads and checks a file, or the `model.safetensors` of a run folder.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or was not written by Pixgen.
    pub fn load(path: &Path) -> Result<Self, ModelFileError> {
        let within = path.join("model.safetensors");
        let file = if within.exists() { &within } else { path };
        let unreadable = |source| ModelFileError::Read { path: file.to_owned(), source };
        match FileKind::of(file).map_err(unreadable)? {
            // What is damaged beyond recognition is told by the parser.
            FileKind::Model | FileKind::Unknown => Self::from_bytes(&std::fs::read(file).map_err(unreadable)?, file),
            kind => Err(ModelFileError::OtherKind { path: file.to_owned(), kind }),
        }
    }

    /// As [`load`](Self::load), and the file must hold `wanted`.
    ///
    /// # Errors
    /// Those of [`load`](Self::load); other weights than wanted.
    pub fn load_content(path: &Path, wanted: Content) -> Result<Self, ModelFileError> {
        let file = Self::load(path)?;
        if file.header.content != wanted {
            return Err(ModelFileError::Content { path: path.to_owned(), found: file.header.content, wanted });
        }
        Ok(file)
    }

    /// Reads and checks the bytes of a file; `path` is for messages.
    ///
    /// # Errors
    /// As of [`load`](Self::load).
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self, ModelFileError> {
        let not_whole = |source| ModelFileError::NotSafetensors { path: path.to_owned(), source };
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(not_whole)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(not_whole)?;
        let header = read_header(metadata.metadata());
        let (header, text) = header.map_err(|fault| ModelFileError::Header { path: path.to_owned(), fault })?;
        let set = header.params();
        let mut left: BTreeMap<&str, TensorView<'_>> = tensors.iter().collect();
        let mut take = |name: &str, dims: &[usize], out: &mut [f32]| {
            let fail = |fault| ModelFileError::Tensor { path: path.to_owned(), tensor: name.to_owned(), fault };
            let view = left.remove(name).ok_or_else(|| fail(TensorFault::Missing))?;
            let wrong = || fail(TensorFault::Shape { found_type: view.dtype(), found: view.shape().to_vec(), expected: dims.to_vec() });
            if view.shape() != dims {
                return Err(wrong());
            }
            match view.dtype() {
                Dtype::F32 => {
                    for (value, bytes) in out.iter_mut().zip(view.data().chunks_exact(4)) {
                        *value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                    }
                }
                Dtype::F16 => {
                    for (value, bytes) in out.iter_mut().zip(view.data().chunks_exact(2)) {
                        *value = f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
                    }
                }
                _ => return Err(wrong()),
            }
            match out.iter().position(|v| !v.is_finite()) {
                Some(at) => Err(fail(TensorFault::NotFinite { at, value: out[at] })),
                None => Ok(()),
            }
        };
        // The header is bounded by what the tensors in the file can fill, so a forged size cannot ask for memory.
        let stored: usize = tensors.iter().map(|(_, view)| 8 * view.data().len() / view.dtype().bitsize()).sum();
        if set.len() > stored {
            let fault = HeaderFault::Values { stored, promised: set.len() };
            return Err(ModelFileError::Header { path: path.to_owned(), fault });
        }
        let mut params = vec![0.0; set.len()];
        for entry in set.entries() {
            take(&entry.name, &entry.dims, &mut params[entry.range.clone()])?;
        }
        let mut statistics = header
            .projector
            .as_ref()
            .filter(|_| header.content == Content::Encoder)
            .map(RunningStatistics::new);
        for (name, place) in statistics.iter_mut().flat_map(RunningStatistics::named_mut) {
            let len = place.len();
            take(&name, &[len], place)?;
        }
        if let Some(tensor) = left.keys().next() {
            let tensor = (*tensor).to_owned();
            return Err(ModelFileError::Tensor { path: path.to_owned(), tensor, fault: TensorFault::Unknown });
        }
        let file = Self { header, set, params, statistics };
        // Files of other programs have none.
        if let Some((expected, rest)) = text.strip_prefix(OPENING).and_then(|text| text.split_once("\",")) {
            let found = file.checksum(rest);
            if expected != found {
                return Err(ModelFileError::Checksum { path: path.to_owned(), expected: expected.to_owned(), found });
            }
        }
        Ok(file)
    }
}

impl ModelHeader {
    /// Refuses what describes no model, for example from a damaged file.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), HeaderFault> {
        self.model.validate()?;
        self.noise.validate()?;
        self.normalisation.check()?;
        match self.projector {
            Some(p) if [p.hidden, p.out].iter().any(|width| !(1..=1 << 16).contains(width)) => Err(HeaderFault::Projector(p)),
            _ => Ok(()),
        }
    }
}

/// The header in the metadata of a file, checked, and its text.
fn read_header(metadata: &Option<HashMap<String, String>>) -> Result<(ModelHeader, &str), HeaderFault> {
    let text = metadata.as_ref().and_then(|m| m.get(KEY)).ok_or(HeaderFault::Missing)?;
    let found = serde_json::from_str::<serde_json::Value>(text).ok().and_then(|v| v["format"].as_u64());
    if found != Some(u64::from(FORMAT)) {
        return Err(HeaderFault::Format { found });
    }
    let header: ModelHeader = serde_json::from_str(text)?;
    header.check()?;
    Ok((header, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::normalise::Normalisation;
    use crate::projector::ProjectorConfig;
    use pixgen_core::noise::{NoiseConfig, Parametrisation};
    use pixgen_core::presets::preset;

    fn file(content: Content) -> ModelFile {
        let model = preset("nano-28-grey").expect("preset").model;
        let projector = ProjectorConfig { hidden: 16, out: 8 };
        let set = match content {
            Content::Encoder => ParamSet::pretraining(&model, &projector),
            Content::Generator | Content::Denoiser => ParamSet::generator(&model),
        };
        let encoder = content == Content::Encoder;
        let header = ModelHeader {
            format: FORMAT,
            content,
            model,
            noise: NoiseConfig::with_shift(1.0),
            parametrisation: Parametrisation::Edm,
            normalisation: Normalisation::simple(),
            projector: encoder.then_some(projector),
            ema: "raw".into(),
            images: 7,
            seed: 1,
            data: "none".into(),
            class_names: vec!["a".into()],
        };
        let params = set.initialise(3);
        ModelFile { header, set, params, statistics: encoder.then(|| RunningStatistics::new(&projector)) }
    }

    #[test]
    fn round_trip() {
        for content in [Content::Encoder, Content::Generator, Content::Denoiser] {
            let file = file(content);
            let back = ModelFile::from_bytes(&file.to_bytes().expect("bytes"), Path::new("x")).expect("reads");
            assert_eq!(back.header, file.header);
            assert_eq!(back.params, file.params);
            assert_eq!(back.statistics, file.statistics);
        }
    }

    /// A file in f16 reads as the rounded values; its statistics stay as they were, and what f16 cannot hold is named.
    #[test]
    fn half_round_trip() {
        for content in [Content::Encoder, Content::Generator] {
            let file = file(content);
            let bytes = file.to_half_bytes().expect("bytes");
            assert!(bytes.len() < file.to_bytes().expect("bytes").len() * 11 / 20);
            let back = ModelFile::from_bytes(&bytes, Path::new("x")).expect("reads");
            let rounded: Vec<f32> = file.params.iter().map(|&value| f16::from_f32(value).to_f32()).collect();
            assert_eq!((&back.header, &back.params, &back.statistics), (&file.header, &rounded, &file.statistics));
            assert_eq!(back.to_half_bytes().expect("bytes"), bytes);
            let mut damaged = bytes.clone();
            *damaged.last_mut().expect("bytes") ^= 1;
            assert!(matches!(ModelFile::from_bytes(&damaged, Path::new("x")), Err(ModelFileError::Checksum { .. })));
        }
        let mut large = file(Content::Generator);
        let entry = large.set.entries()[5].clone();
        large.params[entry.range.start + 2] = -7e4;
        let error = large.to_half_bytes().expect_err("beyond f16").to_string();
        assert!(error.contains(&entry.name) && error.contains("-70000"), "{error}");
    }

    #[test]
    fn streamed_equals_whole() {
        let folder = tempfile::tempdir().expect("folder");
        for (content, projected) in [(Content::Generator, false), (Content::Encoder, true), (Content::Encoder, false)] {
            let mut file = file(content);
            if !projected {
                (file.header.projector, file.statistics) = (None, None);
                file.set = file.header.params();
                file.params.truncate(file.set.len());
            }
            let path = folder.path().join("m.safetensors");
            let of_list = |at: usize| match file.set.entries().get(at) {
                Some(entry) => file.params[entry.range.clone()].to_vec(),
                None => {
                    let statistics = file.statistics.iter().flat_map(RunningStatistics::named);
                    statistics
                        .map(|(_, values)| values.to_vec())
                        .nth(at - file.set.entries().len())
                        .expect("statistics")
                }
            };
            write_streamed(&path, &file.header, |at| Ok::<_, ()>(of_list(at))).expect("writes");
            let back = ModelFile::load(&path).expect("reads, checksum and all");
            assert_eq!(
                (back.header, back.params, back.statistics),
                (file.header.clone(), file.params.clone(), file.statistics.clone())
            );
        }
    }

    #[test]
    fn damage_is_named() {
        let good = file(Content::Generator);
        let reads = |bytes: &[u8]| ModelFile::from_bytes(bytes, Path::new("m.safetensors"));
        let bytes = good.to_bytes().expect("bytes");
        assert!(matches!(reads(&bytes[..bytes.len() / 2]), Err(ModelFileError::NotSafetensors { .. })));
        for byte in [bytes.len() - 1, bytes.len() / 2] {
            let mut flipped = bytes.clone();
            flipped[byte] ^= 1;
            assert!(matches!(reads(&flipped), Err(ModelFileError::Checksum { .. })));
        }
        assert!(matches!(reads(b"GIF89a"), Err(ModelFileError::NotSafetensors { .. })));
        let foreign = safetensors::serialize(Vec::<(String, TensorView<'_>)>::new(), None).expect("bytes");
        assert!(matches!(reads(&foreign), Err(ModelFileError::Header { .. })));

        let mut not_finite = good.clone();
        not_finite.params[good.set.entries()[5].range.start] = f32::NAN;
        let error = reads(&not_finite.to_bytes().expect("bytes")).expect_err("not finite").to_string();
        assert!(error.contains(&good.set.entries()[5].name) && error.contains("NaN"), "{error}");

        let mut newer = good.clone();
        newer.header.format = 2;
        let error = reads(&newer.to_bytes().expect("bytes")).expect_err("newer").to_string();
        assert!(error.contains("format 2"), "{error}");

        // A header that promises a huge model must not ask for its memory.
        let mut forged = good.clone();
        forged.header.model = preset("EPG-G-16-256").expect("preset").model;
        let stored = good.set.len();
        for bytes in [forged.to_bytes().expect("bytes"), forged.to_half_bytes().expect("bytes")] {
            let Err(ModelFileError::Header { fault: HeaderFault::Values { stored: found, .. }, .. }) = reads(&bytes) else {
                panic!("a forged size was taken");
            };
            assert_eq!(found, stored);
        }

        let mut other = good.clone();
        other.header.model.classes = 4;
        let error = reads(&other.to_bytes().expect("bytes")).expect_err("shape").to_string();
        assert!(error.contains("class_embed.weight"), "{error}");
    }
}
