//! GPUs and their published peaks.

use serde::Serialize;

/// Peaks of a GPU as its vendor publishes them: dense, without sparsity, at boost clock.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct GpuPeaks {
    /// What the user types.
    pub name: &'static str,
    /// What its driver calls it.
    pub product: &'static str,
    /// The product and where the numbers are from.
    pub source: &'static str,
    /// bf16 products summed in f32 on tensor cores, FLOP/s.
    pub tensor: f64,
    /// f32 on the vector units (not TF32), FLOP/s.
    pub vector: f64,
    /// Memory bandwidth, bytes/s.
    pub bandwidth: f64,
    /// Memory, bytes.
    pub memory: f64,
    /// To the GPUs of its host, bytes/s in each direction: all links of NVLink, or PCIe.
    pub link: f64,
    /// It has NVLink.
    pub nvlink: bool,
}

/// Bytes of the gigabyte of data sheets for memory sizes of GPUs.
const GIB: f64 = (1u64 << 30) as f64;

/// All of them, the newest generation first.
#[rustfmt::skip]
pub const GPUS: &[GpuPeaks] = &[
    GpuPeaks { name: "h100",     product: "NVIDIA H100 80GB HBM3",           source: "NVIDIA H100 SXM5 80 GB, H100 data sheet and Hopper architecture white paper", tensor: 989.4e12, vector: 66.9e12, bandwidth: 3.35e12,  memory: 80.0 * GIB, link: 450e9, nvlink: true },
    GpuPeaks { name: "h200",     product: "NVIDIA H200",                     source: "NVIDIA H200 SXM 141 GB, H200 data sheet",                                     tensor: 989.4e12, vector: 66.9e12, bandwidth: 4.8e12,   memory: 141e9, link: 450e9, nvlink: true },
    GpuPeaks { name: "a100-80",  product: "NVIDIA A100-SXM4-80GB",           source: "NVIDIA A100 SXM4 80 GB, A100 data sheet",                                     tensor: 312e12,   vector: 19.5e12, bandwidth: 2.039e12, memory: 80.0 * GIB, link: 300e9, nvlink: true },
    GpuPeaks { name: "a100-40",  product: "NVIDIA A100-SXM4-40GB",           source: "NVIDIA A100 SXM4 40 GB, A100 data sheet",                                     tensor: 312e12,   vector: 19.5e12, bandwidth: 1.555e12, memory: 40.0 * GIB, link: 300e9, nvlink: true },
    GpuPeaks { name: "l40s",     product: "NVIDIA L40S",                     source: "NVIDIA L40S 48 GB, L40S data sheet",                                          tensor: 362.05e12, vector: 91.6e12, bandwidth: 0.864e12, memory: 48.0 * GIB, link: 32e9, nvlink: false },
    GpuPeaks { name: "rtx4090",  product: "NVIDIA GeForce RTX 4090",         source: "NVIDIA GeForce RTX 4090 24 GB, Ada GPU architecture white paper",             tensor: 165.2e12, vector: 82.6e12, bandwidth: 1.008e12, memory: 24.0 * GIB, link: 32e9, nvlink: false },
];

/// The GPU that a driver calls `product`.
pub fn of_product(product: &str) -> Option<&'static GpuPeaks> {
    GPUS.iter().find(|gpu| gpu.product == product)
}

/// Finds a GPU by name, in upper or lower case.
pub fn gpu(name: &str) -> Option<&'static GpuPeaks> {
    GPUS.iter().find(|gpu| gpu.name.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found_in_any_case() {
        for gpu in GPUS {
            assert_eq!(GPUS.iter().filter(|other| other.name == gpu.name).count(), 1);
            assert_eq!(super::gpu(&gpu.name.to_uppercase()), Some(gpu));
        }
        assert_eq!(gpu("h1000"), None);
    }

    /// Slips of a power of ten: between 80 and 450 bf16 FLOP go with a byte of bandwidth, and tensor cores beat the vector units.
    #[test]
    fn peaks_are_plausible() {
        for gpu in GPUS {
            let balance = gpu.tensor / gpu.bandwidth;
            assert!((80.0..450.0).contains(&balance), "{}: {balance}", gpu.name);
            assert!(gpu.tensor > gpu.vector && gpu.memory > 2e10 && gpu.link < gpu.bandwidth, "{}", gpu.name);
        }
    }
}
