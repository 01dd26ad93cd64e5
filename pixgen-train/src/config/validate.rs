//! What makes a configuration unusable as a whole, with the key at fault.

use super::problem::{ConfigProblem, problem};
use super::run::RunConfig;
use super::stage::Stage;
use crate::objective::{ConsistencyConfig, DiffusionConfig, DriftConfig, PretrainConfig};
use crate::training::EmaConfig;
use pixgen_core::noise::Parametrisation;

impl RunConfig {
    /// Says what makes the whole unusable.
    pub fn validate(&self) -> Result<(), ConfigProblem> {
        self.model.validate().map_err(|e| problem(&format!("model.{}", e.field()), e.reason()))?;
        self.noise.validate().map_err(|e| problem(&format!("noise.{}", e.field()), e.reason()))?;
        self.augment.check().map_err(|e| problem("augment", e))?;
        let check = |ok: bool, key: &str, reason: &str| if ok { Ok(()) } else { Err(problem(key, reason)) };
        check((0.0..=0.5).contains(&self.data.hold_out), "data.hold_out", "must be a share from 0 to 0.5")?;
        check(self.train.batch >= 2, "train.batch", "must be at least 2")?;
        check(self.train.batch <= 1 << 20, "train.batch", "must be at most 1048576")?;
        check(self.train.images > 0, "train.images", "must be positive")?;
        check(self.train.max_skipped > 0, "train.max_skipped", "must be positive")?;
        for (key, value) in [
            ("output.log_every", self.output.log_every),
            ("output.sample_every", self.output.sample_every),
            ("output.checkpoint_every", self.output.checkpoint_every),
            ("output.keep", self.output.keep as u64),
            ("output.sample_rows", self.output.sample_rows as u64),
        ] {
            check(value > 0, key, "must be positive")?;
        }
        let finite = |v: f64, low: f64| v.is_finite() && v >= low;
        check(finite(self.schedule.peak, 0.0), "schedule.peak", "must be a finite number, 0 or above")?;
        check((0.0..=1.0).contains(&self.schedule.final_factor), "schedule.final_factor", "must lie between 0 and 1")?;
        let optimiser = &self.optimiser;
        for (key, beta) in [("optimiser.beta1", optimiser.beta1), ("optimiser.beta2", optimiser.beta2)] {
            check((0.0..1.0).contains(&beta), key, "must be at least 0 and below 1")?;
        }
        check(finite(optimiser.epsilon, 1e-30), "optimiser.epsilon", "must be positive")?;
        check(finite(optimiser.weight_decay, 0.0), "optimiser.weight_decay", "must be 0 or above")?;
        check(finite(optimiser.clip, 0.0), "optimiser.clip", "must be 0 (off) or above")?;
        for ema in self.ema.configs() {
            let (key, value) = match ema {
                EmaConfig::HalfLife { share } => ("ema.shares", share),
                EmaConfig::Decay { decay } => ("ema.decays", decay),
            };
            check(value > 0.0 && value < 1.0, key, "must lie between 0 and 1")?;
        }
        let names: Vec<String> = self.ema.configs().iter().map(EmaConfig::to_string).collect();
        if self.ema.export != "raw" && !names.contains(&self.ema.export) {
            let hint = Some(format!("use `raw` or one of: {}", names.join(", ")));
            return Err(ConfigProblem { hint, ..problem("ema.export", format!("there is no average `{}`", self.ema.export)) });
        }
        check(self.quality.every == 0 || self.quality.count >= 100, "quality.count", "must be at least 100")?;
        check(self.quality.count <= 1_000_000, "quality.count", "must be at most 1000000")?;
        self.validate_start()?;
        match &self.stage {
            Stage::Pretrain(settings) => validate_pretrain(settings),
            Stage::Diffusion(settings) => validate_diffusion(settings),
            Stage::Consistency(settings) => self.validate_consistency(settings),
            Stage::Drift(settings) => self.validate_drift(settings),
        }
    }

    /// A run starts from one model at most, stage 1 from none, and stage 3 from a generator.
    fn validate_start(&self) -> Result<(), ConfigProblem> {
        if matches!(self.stage, Stage::Pretrain(_)) {
            let given = [("encoder", &self.encoder), ("from", &self.from)]
                .into_iter()
                .find(|(_, path)| !path.is_empty());
            return given.map_or(Ok(()), |(key, _)| {
                let hint = Some("`finetune` trains a generator from a model".to_owned());
                Err(ConfigProblem { hint, ..problem(key, "stage 1 starts from no model") })
            });
        }
        if matches!(self.stage, Stage::Drift(_)) {
            let hint = Some("give --from RUN, a run folder or model file of `finetune`: the start must already draw shapes".to_owned());
            let missing = || ConfigProblem { hint, ..problem("from", "stage 3 goes on from a one-step generator, and none is given") };
            return if self.from.is_empty() { Err(missing()) } else { Ok(()) };
        }
        let auxiliary = matches!(&self.stage, Stage::Consistency(settings) if settings.auxiliary > 0.0);
        if !self.from.is_empty() && !self.encoder.is_empty() && !auxiliary {
            let hint = Some("give either --from or --encoder; only the auxiliary loss needs an encoder beside the generator".to_owned());
            return Err(ConfigProblem { hint, ..problem("from", "a run starts from a generator or from an encoder") });
        }
        Ok(())
    }

    fn validate_consistency(&self, consistency: &ConsistencyConfig) -> Result<(), ConfigProblem> {
        let check = check_in("consistency");
        check((0.0..1.0).contains(&consistency.dropout), "dropout", "must be at least 0 and below 1")?;
        check(consistency.anchor.is_finite() && consistency.anchor >= 0.0, "anchor", "must be 0 (off) or above")?;
        if consistency.parametrisation == Parametrisation::PlainX && consistency.anchor == 0.0 {
            return Err(ConfigProblem {
                hint: Some("set consistency.anchor = 0.3".to_owned()),
                ..problem("consistency.anchor", "plain-x has no boundary condition and needs an anchor above 0")
            });
        }
        validate_levels(&check, consistency.p_mean, consistency.p_std)?;
        check((1..=64).contains(&consistency.stages), "stages", "must lie between 1 and 64")?;
        check(consistency.pair.q > 1.0 && consistency.pair.q.is_finite(), "pair.q", "must be above 1")?;
        check(consistency.pair.k.is_finite(), "pair.k", "must be finite")?;
        check(consistency.pair.b.is_finite(), "pair.b", "must be finite")?;
        check(consistency.huber.is_finite() && consistency.huber > 0.0, "huber", "must be positive")?;
        check(consistency.auxiliary.is_finite() && consistency.auxiliary >= 0.0, "auxiliary", "must be 0 (off) or above")?;
        check(
            consistency.auxiliary_temperature.is_finite() && consistency.auxiliary_temperature > 0.0,
            "auxiliary_temperature",
            "must be positive",
        )?;
        if consistency.auxiliary > 0.0 && self.encoder.is_empty() {
            return Err(ConfigProblem {
                hint: Some("give --encoder RUN, or switch the term off with --set consistency.auxiliary=0".to_owned()),
                ..problem("consistency.auxiliary", "the auxiliary loss needs the encoder of stage 1")
            });
        }
        Ok(())
    }
}

impl RunConfig {
    fn validate_drift(&self, drift: &DriftConfig) -> Result<(), ConfigProblem> {
        let check = check_in("drift");
        check((2..=1 << 12).contains(&drift.generated), "generated", "must lie between 2 and 4096")?;
        check((1..=1 << 12).contains(&drift.real), "real", "must lie between 1 and 4096")?;
        if !self.train.batch.is_multiple_of(drift.generated) {
            let (batch, generated) = (self.train.batch, drift.generated);
            let hint = Some(format!("give --batch {} or another multiple of {generated}", batch.next_multiple_of(generated)));
            let reason = format!("a batch of {batch} is not made of whole sets of drift.generated = {generated} pictures");
            return Err(ConfigProblem { hint, ..problem("train.batch", reason) });
        }
        let positive = |tau: &f64| tau.is_finite() && (1e-3..=1e3).contains(tau);
        check(drift.temperatures.iter().all(positive), "temperatures", "must lie between 0.001 and 1000")?;
        check((1.0..=100.0).contains(&drift.guidance), "guidance", "must lie between 1, which is none, and 100")?;
        for side in drift.window_sides() {
            let size = self.model.size;
            if side % 2 == 1 || side > size {
                let hint =
                    Some(format!("give even sides up to {}, or 0 for none: --set drift.windows=[{}, 0]", size, (size / 4).max(2) & !1));
                return Err(ConfigProblem {
                    hint,
                    ..problem("drift.windows", format!("no windows of {side} pixels in pictures of {size}"))
                });
            }
        }
        let pixels = drift.patches || drift.whole || drift.window_sides().next().is_some();
        if !pixels && self.encoder.is_empty() {
            let hint = Some("switch on drift.patches, drift.windows or drift.whole, or give --encoder RUN".to_owned());
            return Err(ConfigProblem { hint, ..problem("drift.whole", "there is nothing to match pictures by") });
        }
        Ok(())
    }
}

fn validate_pretrain(pretrain: &PretrainConfig) -> Result<(), ConfigProblem> {
    let check = check_in("pretrain");
    let width = |w: usize| (1..=1 << 16).contains(&w);
    for (key, value) in [
        ("projector.hidden", pretrain.projector.hidden),
        ("projector.out", pretrain.projector.out),
    ] {
        check(width(value), key, "must lie between 1 and 65536")?;
    }
    let positive = |v: f64| v.is_finite() && v > 0.0;
    check(positive(pretrain.contrast_temperature), "contrast_temperature", "must be positive")?;
    check(positive(pretrain.temperature.low), "temperature.low", "must be positive")?;
    check(
        pretrain.temperature.start >= pretrain.temperature.low,
        "temperature.start",
        "must be at least temperature.low",
    )?;
    check(pretrain.temperature.start.is_finite(), "temperature.start", "must be finite")?;
    let levels = pretrain.levels;
    check(levels.start >= 1, "levels.start", "must be at least 1")?;
    check((levels.start..=1 << 20).contains(&levels.end), "levels.end", "must lie between levels.start and 1048576")?;
    for (key, decay) in [("start", pretrain.target_decay.start), ("end", pretrain.target_decay.end)] {
        check((0.0..1.0).contains(&decay), &format!("target_decay.{key}"), "must be at least 0 and below 1")?;
    }
    for (key, weight) in [
        ("contrast_weight", pretrain.contrast_weight),
        ("consistency_weight", pretrain.consistency_weight),
    ] {
        check(weight.is_finite() && weight >= 0.0, key, "must be 0 or above")?;
    }
    check(
        pretrain.contrast_weight + pretrain.consistency_weight > 0.0,
        "contrast_weight",
        "one of contrast_weight and consistency_weight must be positive",
    )
}

fn validate_diffusion(diffusion: &DiffusionConfig) -> Result<(), ConfigProblem> {
    let check = check_in("diffusion");
    validate_levels(&check, diffusion.p_mean, diffusion.p_std)?;
    check(diffusion.power.is_finite() && diffusion.power.abs() <= 4.0, "power", "must lie between -4 and 4")?;
    check((0.0..=1.0).contains(&diffusion.label_drop), "label_drop", "must be a share from 0 to 1")
}

/// Mean and standard deviation of ln sigma.
fn validate_levels(check: &impl Fn(bool, &str, &str) -> Result<(), ConfigProblem>, p_mean: f64, p_std: f64) -> Result<(), ConfigProblem> {
    check(p_mean.is_finite(), "p_mean", "must be finite")?;
    check(p_std.is_finite() && p_std >= 0.0, "p_std", "must be 0 or above")
}

/// Names a key of `section` unless all is well.
fn check_in(section: &str) -> impl Fn(bool, &str, &str) -> Result<(), ConfigProblem> {
    move |ok, key, reason| {
        if ok {
            Ok(())
        } else {
            Err(problem(&format!("{section}.{key}"), reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StageKind;
    use pixgen_core::presets::PRESETS;

    #[test]
    fn problems_name_the_key() {
        let good = RunConfig::defaults(StageKind::Consistency, &PRESETS[1]);
        fn consistency(config: &mut RunConfig) -> &mut ConsistencyConfig {
            match &mut config.stage {
                Stage::Consistency(settings) => settings,
                other => panic!("{other:?}"),
            }
        }
        type Change = Box<dyn Fn(&mut RunConfig)>;
        let cases: Vec<(&str, Change)> = vec![
            ("model.patch", Box::new(|c| c.model.patch = 3)),
            ("noise.sigma_max", Box::new(|c| c.noise.sigma_max = 0.0)),
            ("train.batch", Box::new(|c| c.train.batch = 1)),
            ("train.images", Box::new(|c| c.train.images = 0)),
            ("data.hold_out", Box::new(|c| c.data.hold_out = 1000.0)),
            ("data.background", Box::new(|c| c.data.background = "red".into())),
            ("output.keep", Box::new(|c| c.output.keep = 0)),
            ("optimiser.beta2", Box::new(|c| c.optimiser.beta2 = 1.0)),
            ("ema.export", Box::new(|c| c.ema.export = "share-0.5".into())),
            ("ema.decays", Box::new(|c| c.ema.decays = vec![1.5])),
            ("consistency.dropout", Box::new(|c| consistency(c).dropout = 1.0)),
            ("consistency.anchor", Box::new(|c| consistency(c).anchor = 0.0)),
            ("consistency.auxiliary", Box::new(|c| consistency(c).auxiliary = 1.0)),
            ("consistency.p_mean", Box::new(|c| consistency(c).p_mean = f64::NAN)),
            ("consistency.p_std", Box::new(|c| consistency(c).p_std = -1.0)),
            ("consistency.pair.k", Box::new(|c| consistency(c).pair.k = f64::INFINITY)),
            ("quality.count", Box::new(|c| (c.quality.every, c.quality.count) = (1, 3))),
            ("from", Box::new(|c| (c.encoder, c.from) = ("a".into(), "b".into()))),
        ];
        for (key, change) in cases {
            let mut config = good.clone();
            change(&mut config);
            let found = config.validate().err().or_else(|| config.data_spec().err()).expect(key);
            assert_eq!(found.key, key);
        }
        type Edit = fn(&mut PretrainConfig);
        let cases: [(&str, Edit); 4] = [
            ("pretrain.projector.out", |c| c.projector.out = 0),
            ("pretrain.projector.hidden", |c| c.projector.hidden = 1 << 20),
            ("pretrain.levels.start", |c| c.levels.start = 0),
            ("pretrain.levels.end", |c| c.levels.end = 0),
        ];
        for (key, change) in cases {
            let mut config = RunConfig::defaults(StageKind::Pretrain, &PRESETS[1]);
            if let Stage::Pretrain(settings) = &mut config.stage {
                change(settings);
            }
            assert_eq!(config.validate().expect_err(key).key, key);
            // Every key that is named is a setting.
            assert!(crate::settings::layers::get(&config.to_table().expect("TOML"), key).is_some(), "{key}");
        }
        let mut config = RunConfig::defaults(StageKind::Pretrain, &PRESETS[1]);
        config.encoder = "enc".to_owned();
        assert_eq!(config.validate().expect_err("stage 1 has no start").key, "encoder");
    }
}
