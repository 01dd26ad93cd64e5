//! A generator that starts from another one: other classes, another resolution, another objective.
//!
//! Both towers must be the same and see as many patches. A class that the other model knows by name keeps its embedding; a new one gets the
//! mean of all. At another resolution a patch of other sides covers the same part of the picture, and the two layers that touch pixels are
//! resampled: the embedding sees the average of the pixels that a pixel of the old patch covers, and the head draws each pixel as the average
//! of the old ones below it.

use crate::error::ModelDifference;
use pixgen_core::config::ModelConfig;
use pixgen_core::params::Layer;
use pixgen_edge::model_file::ModelFile;
use pixgen_edge::param_set::ParamSet;

/// Fills `params` of `set`, the generator of `model` for these classes, from `file`.
///
/// # Errors
/// All that differs and must not.
pub fn warm_start(
    file: &ModelFile,
    model: &ModelConfig,
    class_names: &[String],
    set: &ParamSet,
    params: &mut [f32],
) -> Result<(), Vec<ModelDifference>> {
    let theirs = &file.header.model;
    let mut differences = ModelDifference::list(theirs, model, &["channels", "encoder", "decoder"]);
    if theirs.patches() != model.patches() {
        differences.extend(ModelDifference::list(theirs, model, &["size", "patch"]));
    }
    if !differences.is_empty() {
        return Err(differences);
    }
    let (width, channels) = (model.encoder.width, model.channels);
    let [down, up] = [(model.patch, theirs.patch), (theirs.patch, model.patch)].map(|(from, to)| resampling(from, to));
    for entry in set.entries() {
        let (Some(site), Some(at)) = (entry.site, file.set.position_of(&entry.name)) else {
            continue;
        };
        let (out, values) = (&mut params[entry.range.clone()], &file.params[file.set.entries()[at].range.clone()]);
        match site.layer {
            Layer::ClassEmbed => embeddings(out, values, width, &file.header.class_names, class_names),
            // A row of the matrix reads a patch: it reads the new patch through the averages of its pixels.
            Layer::PatchEmbed if entry.dims.len() == 2 && theirs.patch != model.patch => {
                let rows = out.chunks_exact_mut(model.patch_len()).zip(values.chunks_exact(theirs.patch_len()));
                rows.for_each(|(out, row)| resample(row, &transposed(&down), [theirs.patch, model.patch], channels, out));
            }
            // A column of the matrix, or the offset, is a patch.
            Layer::Head if theirs.patch != model.patch => {
                let columns = out.len() / model.patch_len();
                for column in 0..columns {
                    let patch: Vec<f32> = values.iter().skip(column).step_by(columns).copied().collect();
                    let mut drawn = vec![0.0; model.patch_len()];
                    resample(&patch, &up, [theirs.patch, model.patch], channels, &mut drawn);
                    out.iter_mut()
                        .skip(column)
                        .step_by(columns)
                        .zip(drawn)
                        .for_each(|(out, value)| *out = value);
                }
            }
            _ => out.copy_from_slice(values),
        }
    }
    Ok(())
}

/// Rows of classes by name, the mean of all classes for a new one, and the row of "no class".
fn embeddings(out: &mut [f32], values: &[f32], width: usize, theirs: &[String], ours: &[String]) {
    let rows: Vec<&[f32]> = values.chunks_exact(width).collect();
    let classes = rows.len().saturating_sub(1);
    let mean: Vec<f32> = (0..width)
        .map(|i| rows[..classes].iter().map(|row| row[i]).sum::<f32>() / classes.max(1) as f32)
        .collect();
    let known = |name: &String| theirs.iter().position(|known| known == name).filter(|&class| class < classes);
    let chosen = ours.iter().map(|name| known(name).map_or(&mean[..], |class| rows[class]));
    let chosen = chosen.chain(rows.last().copied());
    out.chunks_exact_mut(width).zip(chosen).for_each(|(out, row)| out.copy_from_slice(row));
}

/// `[to, from]`: each of `to` cells as the average of those of `from` cells of the same line that it covers.
fn resampling(from: usize, to: usize) -> Vec<Vec<f64>> {
    let (f, t) = (from as f64, to as f64);
    let covered = |i: usize, j: usize| {
        let (i, j) = (i as f64, j as f64);
        // In units of the line's length.
        (((i + 1.0) / t).min((j + 1.0) / f) - (i / t).max(j / f)).max(0.0) * t
    };
    (0..to).map(|i| (0..from).map(|j| covered(i, j)).collect()).collect()
}

fn transposed(matrix: &[Vec<f64>]) -> Vec<Vec<f64>> {
    (0..matrix[0].len()).map(|j| matrix.iter().map(|row| row[j]).collect()).collect()
}

/// Applies `matrix` `[to, from]` to rows and columns of a patch (p1, p2, c).
fn resample(patch: &[f32], matrix: &[Vec<f64>], [from, to]: [usize; 2], channels: usize, out: &mut [f32]) {
    for y in 0..to {
        for x in 0..to {
            for c in 0..channels {
                let mut sum = 0.0;
                for v in 0..from {
                    for u in 0..from {
                        sum += matrix[y][v] * matrix[x][u] * f64::from(patch[(v * from + u) * channels + c]);
                    }
                }
                out[(y * to + x) * channels + c] = sum as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pixgen_core::config::Tower;
    use pixgen_core::noise::{NoiseConfig, Parametrisation};
    use pixgen_core::rng::Rng;
    use pixgen_edge::data::normalise::Normalisation;
    use pixgen_edge::model_file::{Content, FORMAT, ModelHeader};

    const TOWER: Tower = Tower { depth: 1, width: 8, heads: 2 };
    const MODEL: ModelConfig = ModelConfig { size: 8, channels: 1, patch: 4, classes: 2, encoder: TOWER, decoder: TOWER };

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn file() -> ModelFile {
        let set = ParamSet::generator(&MODEL);
        let rng = Rng::new(3, 0);
        let params = (0..set.len() as u64).map(|i| rng.gaussian(i)).collect();
        let header = ModelHeader {
            format: FORMAT,
            content: Content::Generator,
            model: MODEL,
            noise: NoiseConfig::with_shift(1.0),
            parametrisation: Parametrisation::Edm,
            normalisation: Normalisation::simple(),
            projector: None,
            ema: "raw".to_owned(),
            images: 0,
            seed: 1,
            data: String::new(),
            class_names: names(&["cats", "dogs"]),
        };
        ModelFile { header, set, params, statistics: None }
    }

    fn started(model: &ModelConfig, classes: &[&str]) -> Result<(ParamSet, Vec<f32>), Vec<ModelDifference>> {
        let model = ModelConfig { classes: classes.len(), ..*model };
        let set = ParamSet::generator(&model);
        let mut params = vec![f32::NAN; set.len()];
        warm_start(&file(), &model, &names(classes), &set, &mut params)?;
        assert!(params.iter().all(|value| value.is_finite()), "every tensor was filled");
        Ok((set, params))
    }

    fn tensor<'a>((set, params): &'a (ParamSet, Vec<f32>), name: &str) -> &'a [f32] {
        let at = set.position_of(name).expect(name);
        &params[set.entries()[at].range.clone()]
    }

    #[test]
    fn the_same_model_is_copied() {
        let (_, params) = started(&MODEL, &["cats", "dogs"]).expect("it fits");
        assert_eq!(params, file().params);
    }

    #[test]
    fn classes_go_by_name_and_new_ones_get_the_mean() {
        let ours = started(&MODEL, &["birds", "dogs"]).expect("it fits");
        let theirs = file();
        let theirs = (theirs.set, theirs.params);
        let [ours, theirs] = [&ours, &theirs].map(|of| tensor(of, "class_embed.weight"));
        let row = |of: &[f32], class: usize| of[class * 8..][..8].to_vec();
        assert_eq!(row(ours, 1), row(theirs, 1));
        assert_eq!(row(ours, 2), row(theirs, 2), "no class");
        let mean: Vec<f32> = row(theirs, 0).iter().zip(row(theirs, 1)).map(|(a, b)| (a + b) / 2.0).collect();
        assert_eq!(row(ours, 0), mean);
    }

    /// At twice the resolution a picture of doubled pixels gives the same tokens, and the head draws doubled pixels.
    #[test]
    fn another_resolution_sees_and_draws_the_same() {
        let large = ModelConfig { size: 16, patch: 8, ..MODEL };
        let ours = started(&large, &["cats", "dogs"]).expect("as many patches");
        let theirs = file();
        let theirs = (theirs.set, theirs.params);
        let small: Vec<f32> = (0..16).map(|i| (i * i % 7) as f32).collect();
        let doubled: Vec<f32> = (0..64).map(|i| small[i / 16 * 4 + i % 8 / 2]).collect();
        let tokens = |of, patch: &[f32]| -> Vec<f32> {
            let rows = tensor(of, "encoder.patch_embed.weight").chunks_exact(patch.len());
            rows.map(|row| row.iter().zip(patch).map(|(w, x)| w * x).sum()).collect()
        };
        for (a, b) in tokens(&ours, &doubled).iter().zip(tokens(&theirs, &small)) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
        let offset = [&ours, &theirs].map(|of| tensor(of, "decoder.head.bias"));
        assert!((0..64).all(|i| offset[0][i] == offset[1][i / 16 * 4 + i % 8 / 2]));
        let weight = [&ours, &theirs].map(|of| tensor(of, "decoder.head.weight"));
        assert!((0..64 * 8).all(|i| weight[0][i] == weight[1][(i / 8 / 16 * 4 + i / 8 % 8 / 2) * 8 + i % 8]));
    }

    #[test]
    fn resampling_keeps_constants() {
        for (from, to) in [(4, 8), (8, 4), (4, 6), (7, 4), (3, 3)] {
            for row in resampling(from, to) {
                assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{from} {to}: {row:?}");
            }
        }
    }

    #[test]
    fn what_differs_is_named() {
        let keys = |model: &ModelConfig| match started(model, &["cats", "dogs"]) {
            Err(differences) => differences.into_iter().map(|difference| difference.key).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(keys(&ModelConfig { channels: 3, ..MODEL }), ["model.channels"]);
        assert_eq!(keys(&ModelConfig { size: 16, ..MODEL }), ["model.size"]);
        let wide = Tower { width: 16, heads: 4, ..TOWER };
        assert_eq!(keys(&ModelConfig { decoder: wide, ..MODEL }), ["model.decoder.width", "model.decoder.heads"]);
    }
}
