//! Golden vectors and comparisons.

use pixgen_core::config::ModelConfig;
use pixgen_core::noise::NoiseConfig;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A file of `tests/golden/`, written by `tests/gen/golden.py` in float64 numpy.
#[derive(Debug)]
pub struct Golden {
    bytes: Vec<u8>,
    /// The file's `config` entry.
    pub config: Value,
}

impl Golden {
    /// Reads `tests/golden/NAME.safetensors`.
    pub fn load(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("golden/{name}.safetensors"));
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("safetensors header");
        let metadata = metadata.metadata().clone().expect("metadata");
        let config = serde_json::from_str(&metadata["config"]).expect("config is JSON");
        Self { bytes, config }
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).expect("safetensors")
    }

    /// All names that begin with `prefix`.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let tensors = self.tensors();
        let mut names: Vec<String> = tensors.names().into_iter().filter(|n| n.starts_with(prefix)).map(str::to_owned).collect();
        names.sort();
        names
    }

    /// Values of a tensor of any number type.
    pub fn f64(&self, name: &str) -> Vec<f64> {
        let tensors = self.tensors();
        let view = tensors.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        let data = view.data();
        match view.dtype() {
            Dtype::F64 => data.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().expect("8 bytes"))).collect(),
            Dtype::F32 => data
                .chunks_exact(4)
                .map(|b| f64::from(f32::from_le_bytes(b.try_into().expect("4 bytes"))))
                .collect(),
            Dtype::I64 => data
                .chunks_exact(8)
                .map(|b| i64::from_le_bytes(b.try_into().expect("8 bytes")) as f64)
                .collect(),
            other => panic!("{name}: unexpected type {other:?}"),
        }
    }

    /// Values of a tensor as f32.
    pub fn f32(&self, name: &str) -> Vec<f32> {
        self.f64(name).into_iter().map(|v| v as f32).collect()
    }

    /// Values of a tensor as indices.
    pub fn indices(&self, name: &str) -> Vec<usize> {
        self.f64(name).into_iter().map(|v| v as usize).collect()
    }

    /// The model of the file.
    pub fn model(&self) -> ModelConfig {
        serde_json::from_value(self.config["model"].clone()).expect("model config")
    }

    /// The noise constants of the file.
    pub fn noise(&self) -> NoiseConfig {
        serde_json::from_value(self.config["noise"].clone()).expect("noise config")
    }

    /// A number of the config.
    pub fn number(&self, key: &str) -> f64 {
        self.config[key].as_f64().unwrap_or_else(|| panic!("config has no number {key}"))
    }

    /// Tensors `prefix + name` one after another in the order of `names`.
    pub fn flat<'a>(&self, prefix: &str, names: impl Iterator<Item = &'a str>) -> Vec<f32> {
        names.flat_map(|name| self.f32(&format!("{prefix}{name}"))).collect()
    }
}

/// Waits for the other tests of the process that call this. The choice between fused and plain operations is the process's, so a test
/// that makes it, or that would notice it in the last digits, runs alone.
pub fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The largest difference, relative to the largest value of `want`; the failure names the tensor and shows the first values.
pub fn assert_close(name: &str, got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{name}: length");
    let largest = want.iter().fold(1e-12f64, |m, v| m.max(v.abs()));
    let worst = got.iter().zip(want).map(|(&g, &w)| (f64::from(g) - w).abs()).fold(0.0, f64::max);
    let error = worst / largest;
    let head = |n: usize| n.min(6);
    assert!(
        error <= tolerance && got.iter().all(|v| v.is_finite()),
        "{name}: relative error {error:.2e} above {tolerance:.0e}\n  got  {:?}\n  want {:?}",
        &got[..head(got.len())],
        &want[..head(want.len())]
    );
}
