//! The losses against closed forms.

use burn_flex::Flex;
use burn_tensor::{Tensor, TensorData};

use super::cases::numbers;
use super::under;
use crate::distributed::Collective;
use crate::ops::flex::lanes::{Level, limit_level};
use crate::ops::implementation::Implementation;
use crate::ops::{DriftKernel, FusedOps, LossFactors, consistency_loss, drift, nt_xent};

#[test]
fn nt_xent_closed_forms() {
    let device = Default::default();
    let tensor = |rows: [[f32; 2]; 3]| Tensor::<Flex, 2>::from_floats(rows, &device);
    // Equal vectors: every score is the same, the loss is ln K whatever tau and length.
    let same = nt_xent(tensor([[3.0, 0.0]; 3]), tensor([[0.5, 0.0]; 3]), 0, 0.1);
    assert!((same.into_scalar() - 3f32.ln()).abs() < 1e-6);
    // Query i points at key i; the others are orthogonal or opposite.
    let q = tensor([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]);
    let got = nt_xent(q.clone(), q, 0, 0.5).into_scalar();
    let e = |x: f32| x.exp();
    let side = (e(2.0) + 1.0 + e(-2.0)).ln() - 2.0;
    let middle = (e(2.0) + 2.0).ln() - 2.0;
    assert!((got - (2.0 * side + middle) / 3.0).abs() < 1e-5);
}

/// Per image: with d = skip x + out f - target and u = |d|^2, the loss is w u / sqrt(u + c^2), whose root takes no gradient.
fn consistency_loss_matches<B: FusedOps>() {
    let device = Default::default();
    let (images, patches, width, huber) = (3, 5, 7, 0.3);
    let len = patches * width;
    let [f, x, target] = [11, 12, 13].map(|seed| numbers(images * len, seed));
    let tensor = |values: &[f64]| {
        let data = TensorData::new(values.iter().map(|&v| v as f32).collect::<Vec<_>>(), [images, patches, width]);
        Tensor::<B, 3>::from_data(data, &device)
    };
    let factors = LossFactors { skip: numbers(images, 14), out: numbers(images, 15), weight: vec![0.5, 2.0, 0.0] };
    let (losses, slope) = consistency_loss(tensor(&f), tensor(&x), tensor(&target), &factors, huber);
    let losses: Vec<f64> = losses.into_data().iter::<f64>().collect();
    let slope: Vec<f64> = slope.into_data().iter::<f64>().collect();
    for image in 0..images {
        let (skip, out, weight) = (factors.skip[image], factors.out[image], factors.weight[image]);
        let d: Vec<f64> = (image * len..(image + 1) * len).map(|i| skip * x[i] + out * f[i] - target[i]).collect();
        let u: f64 = d.iter().map(|d| d * d).sum();
        let root = (u + huber * huber).sqrt();
        assert!((losses[image] - weight * u / root).abs() < 1e-5, "loss of image {image}: {}", losses[image]);
        for (found, d) in slope[image * len..].iter().zip(d) {
            let want = weight * 2.0 * d * out / root;
            assert!((found - want).abs() < 1e-5, "slope of image {image}: {found} instead of {want}");
        }
    }
}

#[test]
fn consistency_loss_and_its_slope() {
    consistency_loss_matches::<Flex>();
    under(Implementation::Plain, consistency_loss_matches::<Flex>);
    #[cfg(any(feature = "cuda", feature = "vulkan"))]
    consistency_loss_matches::<super::TestGpu>();
}

/// One process that has all sets.
fn kernel(temperatures: &[f64], guidance: f64, sets: usize) -> DriftKernel<'_> {
    DriftKernel { temperatures, guidance, sets, ranks: Collective::default() }
}

/// Features of generated and real pictures, `[K, N, L, D]` and `[K, P, L, D]`.
struct DriftCase {
    places: usize,
    sets: usize,
    generated: usize,
    real: usize,
    width: usize,
    temperatures: Vec<f64>,
    guidance: f64,
}

impl DriftCase {
    const fn new([places, sets, generated, real, width]: [usize; 5], temperatures: Vec<f64>, guidance: f64) -> Self {
        Self { places, sets, generated, real, width, temperatures, guidance }
    }

    /// Features that are far from 0 and near each other, as those of pictures are.
    fn inputs(&self) -> [Vec<f64>; 2] {
        let features = |pictures: usize, seed: u64| {
            let numbers = numbers(self.places * self.sets * pictures * self.width, seed);
            numbers.into_iter().map(|x| f64::from((0.7 + 0.3 * x) as f32)).collect()
        };
        [features(self.generated, 21), features(self.real, 22)]
    }

    /// The definition (docs/reference/method.md section 8.1), picture by picture: loss and sizes of the fields, and the gradient.
    fn definition(&self) -> [Vec<f64>; 2] {
        let [x, real] = self.inputs();
        let (n, p, d) = (self.generated, self.real, self.width);
        let distance = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        let places = self.places;
        let row = |all: &[f64], picture: usize, place: usize| all[(picture * places + place) * d..][..d].to_vec();
        let rows = |all: &[f64], group: usize, count: usize| -> Vec<Vec<f64>> {
            (0..count).map(|i| row(all, group / places * count + i, group % places)).collect()
        };
        // What pushes beside generated pictures: one real picture of each number, of the other sets in turn.
        let u = if self.guidance > 1.0 && self.sets > 1 { p } else { 0 };
        let copies = (self.guidance - 1.0) * (n as f64 - 1.0) / u as f64;
        let others = |group: usize| -> Vec<Vec<f64>> {
            let other = |i: usize| (group / places + 1 + i % (self.sets - 1)) % self.sets;
            (0..u).map(|i| row(&real, other(i) * p + i, group % places)).collect()
        };
        let groups: Vec<_> = (0..self.places * self.sets)
            .map(|group| (rows(&x, group, n), rows(&real, group, p), others(group)))
            .collect();
        let (mut from_real, mut from_generated) = (0.0, 0.0);
        for (x, real, _) in &groups {
            for (i, picture) in x.iter().enumerate() {
                from_real += real.iter().map(|other| distance(picture, other)).sum::<f64>();
                from_generated += (0..n).filter(|&j| j != i).map(|j| distance(picture, &x[j])).sum::<f64>();
            }
        }
        let count = (groups.len() * n) as f64;
        let mean = (from_real / (count * p as f64) + from_generated / (count * (n as f64 - 1.0))) / 2.0;
        let unit = mean / (d as f64).sqrt();
        let mut field = vec![0.0; x.len()];
        let mut sizes = vec![0.0];
        for tau in &self.temperatures {
            let mut v = Vec::new();
            for (x, real, others) in &groups {
                let all: Vec<&Vec<f64>> = real.iter().chain(x).chain(others).collect();
                let times = |q: usize| if q < n + p { 1.0 } else { copies };
                let logit = |i: usize, q: usize| (q != p + i).then(|| (-distance(&x[i], all[q]) / (mean * tau)).exp());
                let kernel = |i: usize, q: usize| logit(i, q).unwrap_or(0.0);
                let row: Vec<f64> = (0..n).map(|i| (0..all.len()).map(|q| times(q) * kernel(i, q)).sum()).collect();
                let column: Vec<f64> = (0..all.len()).map(|q| (0..n).map(|i| kernel(i, q)).sum()).collect();
                let a = |i: usize, q: usize| times(q) * kernel(i, q) / (row[i] * column[q]).sqrt();
                for i in 0..n {
                    let a: Vec<f64> = (0..all.len()).map(|q| a(i, q)).collect();
                    let (pulling, pushing) = (a[..p].iter().sum::<f64>(), a[p..].iter().sum::<f64>());
                    v.extend((0..d).map(|k| {
                        let pull: f64 = (0..p).map(|q| a[q] * pushing * all[q][k]).sum();
                        let push: f64 = (p..all.len()).map(|q| a[q] * pulling * all[q][k]).sum();
                        (pull - push) / unit
                    }));
                }
            }
            let size = (v.iter().map(|v| v * v).sum::<f64>() / v.len() as f64).sqrt();
            for (i, v) in v.into_iter().enumerate() {
                let (group, picture, k) = (i / (n * d), i / d % n, i % d);
                field[((group / places * n + picture) * places + group % places) * d + k] += v / size;
            }
            sizes.push(size);
        }
        let share = 1.0 / (self.sets * n * d) as f64;
        sizes[0] = share * field.iter().map(|v| v * v).sum::<f64>();
        [sizes, field.into_iter().map(|v| -2.0 * share * v / unit).collect()]
    }

    fn kernel(&self) -> DriftKernel<'_> {
        kernel(&self.temperatures, self.guidance, self.sets)
    }

    fn run<B: FusedOps>(&self) -> [Vec<f64>; 2] {
        let device = Default::default();
        let [x, real] = self.inputs();
        let tensor = |values: Vec<f64>, pictures: usize| {
            let values: Vec<f32> = values.into_iter().map(|v| v as f32).collect();
            Tensor::<B, 4>::from_data(TensorData::new(values, [self.sets, pictures, self.places, self.width]), &device)
        };
        let rows = real.chunks_exact(self.places * self.width);
        let rows: Vec<&[f64]> = rows.collect();
        let others = self.kernel().others(self.sets, self.real);
        let pushing = others.concat().into_iter().flat_map(|number| rows[number].to_vec()).collect();
        let others = Some(others[0].len()).filter(|&count| count > 0).map(|count| tensor(pushing, count));
        let (sizes, slope) = drift(tensor(x, self.generated), tensor(real.clone(), self.real), others, &self.kernel());
        [sizes.into_data().iter::<f64>().collect(), slope.into_data().iter::<f64>().collect()]
    }

    /// The largest errors of what a backend gives, relative to the largest value.
    fn check<B: FusedOps>(&self, backend: &str) {
        let name = format!("{:?} alpha {}", [self.places, self.sets, self.generated, self.real, self.width], self.guidance);
        for ((found, want), what) in self.run::<B>().iter().zip(self.definition()).zip(["sizes", "slope"]) {
            assert_eq!(found.len(), want.len());
            let largest = want.iter().fold(0.0f64, |largest, v| largest.max(v.abs()));
            let off = found.iter().zip(&want).fold(0.0f64, |off, (a, b)| off.max((a - b).abs())) / largest;
            println!("max relative error | {backend} | drift {name} {what} | F32 | {off:.1e}");
            assert!(off < 1e-4, "{backend}: {what} of {name} off by {off:e}");
        }
    }
}

fn drift_cases() -> Vec<DriftCase> {
    let paper = || vec![0.02, 0.05, 0.2];
    vec![
        DriftCase::new([1, 1, 2, 1, 1], vec![0.5], 1.0),
        DriftCase::new([1, 2, 3, 5, 7], paper(), 1.0),
        DriftCase::new([3, 2, 8, 4, 16], paper(), 1.5),
        DriftCase::new([5, 3, 17, 9, 33], paper(), 1.1),
        DriftCase::new([2, 4, 4, 1, 3], paper(), 4.0),
        // The only set has none whose pictures could push.
        DriftCase::new([2, 1, 32, 32, 64], paper(), 2.0),
        // Features that are cut into three pieces.
        DriftCase::new([2, 2, 3, 4, 3 * 1024], paper(), 1.5),
    ]
}

#[test]
fn drift_and_its_slope() {
    for case in drift_cases() {
        case.check::<Flex>("cpu");
        under(Implementation::Plain, || case.check::<Flex>("plain"));
        #[cfg(any(feature = "cuda", feature = "vulkan"))]
        case.check::<super::TestGpu>(super::GPU);
    }
}

/// Equal bits on any number of threads and with any instruction set.
#[test]
fn drift_is_deterministic() {
    under(Implementation::Fused, || {
        for case in drift_cases() {
            let bits = || case.run::<Flex>().concat().into_iter().map(f64::to_bits).collect::<Vec<_>>();
            let want = bits();
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a small pool starts");
                assert!(pool.install(bits) == want, "{threads} threads");
            }
            for ceiling in [Level::Baseline, Level::Avx2, Level::Avx512] {
                let level = limit_level(ceiling);
                assert!(bits() == want, "{level:?}");
            }
        }
    });
}

/// Pictures that are all the same are not moved, and nothing is divided by zero.
#[test]
fn drift_of_equal_pictures_is_zero() {
    let device = Default::default();
    let ones = |pictures| Tensor::<Flex, 4>::ones([2, pictures, 1, 5], &device);
    let kernel = kernel(&[0.02, 0.2], 1.5, 2);
    for choice in [Implementation::Fused, Implementation::Plain] {
        let (sizes, slope) = under(choice, || drift(ones(3), ones(4), Some(ones(4)), &kernel));
        let found: Vec<f64> = sizes.into_data().iter::<f64>().chain(slope.into_data().iter::<f64>()).collect();
        assert!(found.iter().all(|&value| value == 0.0), "{choice:?}: {found:?}");
    }
}

/// With guidance pictures go to where the other set's real ones are not.
#[test]
fn guidance_keeps_sets_apart() {
    // One value: real pictures of the sets at -1 and 1, generated ones around 0 in both.
    let column = |values: &[f32]| {
        let values: Vec<f32> = values.to_vec();
        Tensor::<Flex, 4>::from_data(TensorData::new(values, [2, 2, 1, 1]), &Default::default())
    };
    let real = column(&[-1.1, -0.9, 0.9, 1.1]);
    let x = column(&[-0.1, 0.1, -0.1, 0.1]);
    let ratio = |guidance: f64| {
        let kernel = kernel(&[1.0], guidance, 2);
        let others = (guidance > 1.0).then(|| column(&[0.9, 1.1, -1.1, -0.9]));
        // The field is brought to size 1, so its direction is compared: what moves the pictures of a set apart, and what moves them to their side.
        let (_, slope) = drift(x.clone(), real.clone(), others, &kernel);
        let slope: Vec<f32> = slope.into_data().iter::<f32>().collect();
        (slope[0] + slope[1]) / (slope[0] - slope[1]).abs()
    };
    let (without, with) = (ratio(1.0), ratio(2.0));
    assert!(with > 1.2 * without && without > 0.0, "{without} {with}");
}
