//! What stage 3 sees of a picture: features in several places, and the way back from their gradient to pixels
//! (docs/reference/method.md section 8.2).

use super::drift_config::DriftConfig;
use crate::ops::{DriftKernel, FusedOps, drift};
use burn_tensor::{Int, Tensor, TensorData};
use pixgen_core::config::ModelConfig;

/// Pixel features of one kind: in each of several places of a picture as many pixels.
#[derive(Debug)]
pub struct PixelGroup<B: FusedOps> {
    /// Name of its loss.
    pub name: &'static str,
    /// Places L, and values D of a place.
    places: [usize; 2],
    windows: Option<Windows<B>>,
}

/// Where the values of windows lie in a picture, and the other way round. One number beyond the last stands for zero.
#[derive(Debug)]
struct Windows<B: FusedOps> {
    /// For each value of each window its number in the picture.
    pixels: Tensor<B, 1, Int>,
    /// For each value of the picture its number in the windows: as often as any value is seen.
    values: Vec<Tensor<B, 1, Int>>,
}

impl<B: FusedOps> PixelGroup<B> {
    /// The kinds that the settings ask for.
    pub fn all(settings: &DriftConfig, model: &ModelConfig, device: &B::Device) -> Vec<Self> {
        let plain = |name, places| Self { name, places, windows: None };
        let patches = settings.patches.then(|| plain("patches", [model.patches(), model.patch_len()]));
        let windows = settings.window_sides().map(|side| Self::windows(side, model, device));
        let whole = settings.whole.then(|| plain("whole", [1, model.image_len()]));
        patches.into_iter().chain(windows).chain(whole).collect()
    }

    fn windows(side: usize, model: &ModelConfig, device: &B::Device) -> Self {
        let pixels = window_pixels(side, model);
        let (len, width) = (model.image_len(), side * side * model.channels);
        let mut seen = vec![Vec::new(); len];
        for (value, &pixel) in pixels.iter().enumerate().filter(|&(_, &pixel)| pixel < len) {
            seen[pixel].push(value);
        }
        let most = seen.iter().map(Vec::len).max().unwrap_or(0);
        let value = |layer: usize| seen.iter().map(|values| values.get(layer).copied().unwrap_or(pixels.len())).collect();
        let windows = Windows {
            values: (0..most).map(|layer| indices(value(layer), device)).collect(),
            pixels: indices(pixels.clone(), device),
        };
        Self { name: "windows", places: [pixels.len() / width, width], windows: Some(windows) }
    }

    /// `[B, L, D]` of pictures `[B, N_p, p*p*C]`.
    fn features(&self, pictures: Tensor<B, 3>) -> Tensor<B, 3> {
        let [count, patches, len] = pictures.dims();
        let [places, width] = self.places;
        let flat = pictures.reshape([count, patches * len]);
        let values = match &self.windows {
            Some(windows) => with_zero(flat).select(1, windows.pixels.clone()),
            None => flat,
        };
        values.reshape([count, places, width])
    }

    /// The gradient of pictures of shape `[B, N_p, p*p*C]` from that of their features, `[B, L, D]`.
    fn back(&self, slope: Tensor<B, 3>, shape: [usize; 3]) -> Tensor<B, 3> {
        let [count, places, width] = slope.dims();
        let flat = slope.reshape([count, places * width]);
        let Some(windows) = &self.windows else {
            return flat.reshape(shape);
        };
        let flat = with_zero(flat);
        let layers = windows.values.iter().map(|values| flat.clone().select(1, values.clone()));
        layers.reduce(|sum, layer| sum + layer).unwrap_or(flat).reshape(shape)
    }

    /// The field of `sets` equal sets of pictures in patch layout, with its gradient for pixels.
    pub fn field(&self, pictures: &Compared<B>, sets: usize, kernel: &DriftKernel<'_>) -> Field<B> {
        let field = Field::new(pictures.map(|pictures| self.features(pictures)), sets, kernel);
        Field { slope: self.back(field.slope, pictures.generated.dims()), ..field }
    }
}

/// Pictures of sets that a rank has, or their features: equally many rows for each set.
#[derive(Clone, Debug)]
pub struct Compared<B: FusedOps> {
    /// Generated, `[k N, ..]`.
    pub generated: Tensor<B, 3>,
    /// Real, `[k P, ..]`.
    pub real: Tensor<B, 3>,
    /// Real ones of other sets that push, if any do, `[k U, ..]`.
    pub others: Option<Tensor<B, 3>>,
}

impl<B: FusedOps> Compared<B> {
    /// Something of all of them.
    pub fn map(&self, of: impl Fn(Tensor<B, 3>) -> Tensor<B, 3>) -> Self {
        let Self { generated, real, others } = self.clone();
        Self { generated: of(generated), real: of(real), others: others.map(of) }
    }
}

/// The drifting loss of features of one kind.
#[derive(Debug)]
pub struct Field<B: FusedOps> {
    /// The loss, and the size of the field at each temperature, `[1 + T]`.
    pub sizes: Tensor<B, 1>,
    /// The gradient of the loss, `[B, L, D]`.
    pub slope: Tensor<B, 3>,
}

impl<B: FusedOps> Field<B> {
    /// Of features `[.., L, D]` of the pictures of so many sets.
    pub fn new(features: Compared<B>, sets: usize, kernel: &DriftKernel<'_>) -> Self {
        let shape = features.generated.dims();
        let by_set = |features: Tensor<B, 3>| {
            let [count, places, width] = features.dims();
            features.reshape([sets, count / sets, places, width])
        };
        let (sizes, slope) = drift(by_set(features.generated), by_set(features.real), features.others.map(by_set), kernel);
        Self { sizes, slope: slope.reshape(shape) }
    }
}

/// A column of zeros after the last.
fn with_zero<B: FusedOps>(rows: Tensor<B, 2>) -> Tensor<B, 2> {
    let zero = Tensor::zeros([rows.dims()[0], 1], &rows.device());
    Tensor::cat(vec![rows, zero], 1)
}

fn indices<B: FusedOps>(numbers: Vec<usize>, device: &B::Device) -> Tensor<B, 1, Int> {
    let numbers: Vec<i64> = numbers.into_iter().map(|number| number as i64).collect();
    let count = numbers.len();
    Tensor::from_data(TensorData::new(numbers, [count]), device)
}

/// For each value of each window, row by row and (y, x, c) inside, its number in a picture in patch layout; the picture's length where a
/// window reaches beyond the edge. Windows lie half a side apart and as far beyond one edge as beyond the other.
fn window_pixels(side: usize, model: &ModelConfig) -> Vec<usize> {
    let ModelConfig { size, channels, patch, .. } = *model;
    let step = (side / 2).max(1);
    let count = size.div_ceil(step);
    let beyond = ((step * (count - 1) + side).saturating_sub(size) / 2) as isize;
    let starts = || (0..count).map(|i| (i * step) as isize - beyond);
    let inside = |at: isize| usize::try_from(at).ok().filter(|&at| at < size);
    let number = |y: usize, x: usize, c: usize| {
        let (token, within) = (y / patch * (size / patch) + x / patch, y % patch * patch + x % patch);
        (token * patch * patch + within) * channels + c
    };
    let mut pixels = Vec::new();
    for (top, left) in starts().flat_map(|top| starts().map(move |left| (top, left))) {
        for (y, x) in (0..side as isize).flat_map(|y| (0..side as isize).map(move |x| (top + y, left + x))) {
            let at = inside(y).zip(inside(x));
            pixels.extend((0..channels).map(|c| at.map_or(model.image_len(), |(y, x)| number(y, x, c))));
        }
    }
    pixels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::batch::upload;
    use crate::model::weights::to_vec;
    use burn_flex::Flex;
    use pixgen_core::noise::Parametrisation;
    use pixgen_core::patch::patchify;
    use pixgen_core::presets::preset;

    const SETTINGS: DriftConfig = DriftConfig {
        parametrisation: Parametrisation::PlainX,
        generated: 2,
        real: 2,
        temperatures: [0.02, 0.05, 0.2],
        guidance: 1.0,
        patches: true,
        windows: [8, 12],
        whole: true,
    };

    /// A window holds the pixels below it, black beyond the edge, and a value goes back to each pixel as often as a window shows it.
    #[test]
    fn windows_show_what_lies_below_them() {
        let model = ModelConfig { size: 12, patch: 3, channels: 3, ..preset("nano-32-rgb").expect("preset").model };
        let device = Default::default();
        let rows: Vec<f32> = (0..model.image_len()).map(|i| 1.0 + i as f32).collect();
        let mut patches = vec![0.0; rows.len()];
        patchify(&model, &rows, &mut patches);
        let picture = upload::<Flex>(patches, [1, model.patches(), model.patch_len()], &device);
        let group = PixelGroup::windows(8, &model, &device);
        let features = group.features(picture.clone());
        assert_eq!(features.dims(), [1, 9, 8 * 8 * 3]);
        let values = to_vec(features.clone().into_data());
        for (place, window) in values.chunks_exact(8 * 8 * 3).enumerate() {
            let (top, left) = (place / 3 * 4, place % 3 * 4);
            for (i, &value) in window.iter().enumerate() {
                // Two pixels beyond the upper and the left edge.
                let (y, x, c) = (top + i / 24, left + i / 3 % 8, i % 3);
                let inside = (2..14).contains(&y) && (2..14).contains(&x);
                let want = if inside { rows[((y - 2) * 12 + x - 2) * 3 + c] } else { 0.0 };
                assert_eq!(value, want, "place {place}, value {i}");
            }
        }
        let back = group.back(features.ones_like(), picture.dims());
        let counts = to_vec(back.into_data());
        let total: f32 = counts.iter().sum();
        let shown = values.iter().filter(|&&value| value > 0.0).count();
        assert_eq!(total, shown as f32);
        assert!(counts.iter().all(|&count| [1.0, 2.0, 4.0].contains(&count)));
    }

    #[test]
    fn every_preset_has_its_groups() {
        let model = preset("small-28-grey").expect("preset").model;
        let groups = PixelGroup::<Flex>::all(&SETTINGS, &model, &Default::default());
        let found: Vec<_> = groups.iter().map(|group| (group.name, group.places)).collect();
        assert_eq!(
            found,
            [
                ("patches", [16, 49]),
                ("windows", [49, 64]),
                ("windows", [25, 144]),
                ("whole", [1, 784])
            ]
        );
        let none = DriftConfig { patches: false, windows: [0, 0], ..SETTINGS };
        assert_eq!(PixelGroup::<Flex>::all(&none, &model, &Default::default()).len(), 1);
    }
}
