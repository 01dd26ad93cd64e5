//! A training run from its first step to its last: resume, loop, sample, save.

use crate::config::Stage;
use crate::distributed::{Collective, Share, replicas};
use crate::error::{CheckpointMismatch, Error};
use crate::objective::{Objective, StepError, TrainingProgress};
use crate::prepared::{Prepared, parametrisation, save_model};
use crate::quality_watch::QualityWatch;
use crate::run::recorded::{Change, Recorded};
use crate::run::tensorboard::EventFile;
use crate::run::window::Window;
use crate::run::{self, Checkpoint, MetricsLog, NamedTensor, RunFolder, checkpoint};
use crate::sampling::{Drawing, Generator, SampleRequest};
use crate::training::{Engine, Flat, Outcome, State, step};
use pixgen_edge::interrupt;
use pixgen_edge::interrupt::Interrupt;
use pixgen_edge::picture::{Grid, Picture, strip};
use pixgen_edge::terminal::note;
use pixgen_edge::units::{counted, format_images};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// What is not a setting of the run.
#[derive(Clone, Debug, Default)]
pub struct SessionOptions {
    /// Stop and save when this many images were seen, although the run is longer.
    pub stop_at: Option<u64>,
    /// No progress.
    pub quiet: bool,
    /// Name for the progress bar.
    pub title: String,
    /// Mirror the log in an event file of TensorBoard.
    pub tensorboard: bool,
    /// Ctrl-C.
    pub interrupt: Interrupt,
    /// Those who train together; rank 0 writes the folder.
    pub ranks: Collective,
    /// They divide moments and averages.
    pub shard_state: bool,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All images were seen.
    Finished,
    /// `stop_at` was reached; the same command goes on.
    Stopped,
    /// Ctrl-C; the same command goes on.
    Interrupted,
}

/// A run in its folder.
struct Session<'a, B: Engine> {
    prepared: &'a Prepared,
    options: &'a SessionOptions,
    device: &'a B::Device,
    /// None where another rank writes them.
    records: Option<Records>,
    objective: Box<dyn Objective<B>>,
    state: State<B::Flat>,
    progress: run::Progress,
    due: Due,
    /// Sums since the last line of metrics.
    window: Window,
    /// Steps so far, and bytes that were sent in them.
    sent: Sent,
}

/// What ranks have told each other in steps.
#[derive(Clone, Copy, Default)]
struct Sent {
    steps: u64,
    in_ring: u64,
    by_tcp: u64,
}

/// What a run writes.
struct Records {
    folder: RunFolder,
    metrics: MetricsLog,
    watch: Option<QualityWatch>,
}

/// What an interrupt kept from being drawn after the last step.
#[derive(Clone, Copy, Default)]
struct Due {
    sample: bool,
    measurement: bool,
}

/// Runs or resumes training in `out`. The first line on stderr says which of the two it is.
pub fn train<B: Engine>(prepared: &Prepared, out: &Path, options: &SessionOptions, device: &B::Device) -> Result<End, Error> {
    let (config, ranks) = (&prepared.config, &options.ranks);
    B::connect(ranks, device);
    let mut objective = prepared.objective::<B>(device, ranks);
    let divided = if options.shard_state { ranks.share() } else { Share::default() };
    let mut state = State::of_share::<B>(objective.params(), &prepared.start.params, &config.ema.configs(), divided, device);
    let mut whole = HashMap::new();
    let opened = if ranks.is_first() {
        Some(open(prepared, out, options, device, &mut *objective, &mut state, &mut whole)?)
    } else {
        None
    };
    let (records, mut due) = opened.map_or((None, Due::default()), |(records, due)| (Some(records), due));
    let mut flags = [due.sample, due.measurement].map(u8::from);
    ranks.broadcast(&mut flags);
    [due.sample, due.measurement] = flags.map(|flag| flag == 1);
    replicas::replicate(ranks, &mut *objective, &mut state, whole, device);
    replicas::compare::<B>(ranks, &state.params)?;
    if ranks.is_first() && !ranks.is_alone() {
        let held: u64 = state.divided().map(|(_, values)| values.bytes()).sum();
        note(&format!("moments and averages: {held} bytes at each of {} ranks", ranks.size()));
    }
    let quiet = options.quiet || !ranks.is_first();
    let progress = run::Progress::new(&options.title, state.images, config.train.images, quiet);
    let window = Window::default();
    let sent = Sent::default();
    let mut session = Session::<B> { prepared, options, device, records, objective, state, progress, due, window, sent };
    session.run()
}

/// Opens the folder of the run, and takes up its newest checkpoint; what ranks divide goes to `whole`.
fn open<B: Engine>(
    prepared: &Prepared,
    out: &Path,
    options: &SessionOptions,
    device: &B::Device,
    objective: &mut dyn Objective<B>,
    state: &mut State<B::Flat>,
    whole: &mut HashMap<String, Vec<f32>>,
) -> Result<(Records, Due), Error> {
    let config = &prepared.config;
    let recorded = Recorded::read(out)?;
    if recorded.is_none() {
        QualityWatch::check(prepared)?;
    }
    let folder = RunFolder::open(out)?;
    let changes = recorded.as_ref().map_or_else(|| Ok(Vec::new()), |recorded| recorded.changes(config))?;
    let mut warnings: Vec<String> = folder.warnings().iter().map(ToString::to_string).collect();
    let mut due = Due::default();
    let resumed = match checkpoint::latest(&folder)? {
        Some(loaded) => {
            warnings.extend(loaded.warnings.iter().map(ToString::to_string));
            note(&format!("resuming at {} from {}", count(loaded.checkpoint.images), loaded.path.display()));
            let is_due = |key: &str| loaded.checkpoint.metadata.contains_key(key);
            due = Due { sample: is_due("sample_due"), measurement: is_due("measurement_due") };
            *whole = restore::<B>(loaded.checkpoint, &loaded.path, prepared, objective, state, device, out)?;
            if config.train.images < state.images && changes.iter().any(|change| change.key == "train.images") {
                let folder = out.display().to_string();
                return Err(Error::FewerImages { folder, images: config.train.images, seen: state.images });
            }
            let told = recorded.map(|recorded| recorded.told(&changes, config, state.images));
            told.iter().flatten().for_each(|line| note(line));
            Some(state.images)
        }
        None if recorded.is_some() && folder.model().exists() => {
            return Err(Error::NoCheckpoint { folder: out.display().to_string() });
        }
        None => {
            note(&format!(
                "fresh run in {}: {} of {}",
                out.display(),
                count(config.train.images),
                counted(prepared.training.len(), "picture", "pictures")
            ));
            None
        }
    };
    if !prepared.training.passed_over().is_empty() {
        note(&format!("passed over: {}", prepared.training.passed_over()));
    }
    folder.write_config(&config.to_toml()?)?;
    let metrics = open_log(&folder, resumed, &changes, options)?;
    warnings.extend(metrics.warnings().iter().map(ToString::to_string));
    if prepared.skipped_files > 0 {
        warnings.push(format!("left out {}", counted(prepared.skipped_files, "bad file", "bad files")));
    }
    for warning in warnings {
        note(&format!("warning: {warning}"));
    }
    let watch = if state.images < config.train.images || due.measurement {
        QualityWatch::new(prepared, &folder)?
    } else {
        None
    };
    Ok((Records { folder, metrics, watch }, due))
}

/// The log, with a line about what changes from here on.
fn open_log(folder: &RunFolder, resumed: Option<u64>, changes: &[Change], options: &SessionOptions) -> Result<MetricsLog, Error> {
    let mut metrics = MetricsLog::open(folder, resumed)?;
    if options.tensorboard {
        metrics.mirror(EventFile::open(folder)?);
    }
    if let Some(images) = resumed.filter(|_| !changes.is_empty()) {
        let changed: BTreeMap<_, _> = changes
            .iter()
            .map(|c| (&c.key, BTreeMap::from([("was", &c.was), ("is", &c.is)])))
            .collect();
        metrics.append(images, &BTreeMap::from([("changed", changed)]))?;
    }
    Ok(metrics)
}

/// 40,000 images, in full: the number that `--stop-at` and file names use.
fn count(images: u64) -> String {
    format!("{} ({})", counted(images as usize, "image", "images"), format_images(images))
}

/// Puts a checkpoint back, but for what ranks divide: that is returned.
fn restore<B: Engine>(
    checkpoint: Checkpoint,
    path: &Path,
    prepared: &Prepared,
    objective: &mut dyn Objective<B>,
    state: &mut State<B::Flat>,
    device: &B::Device,
    out: &Path,
) -> Result<HashMap<String, Vec<f32>>, Error> {
    let misfit = |kind| Error::OtherCheckpoint { path: path.display().to_string(), kind };
    let metadata = |key: &str| checkpoint.metadata.get(key).cloned().unwrap_or_default();
    let (was, is) = (metadata("data"), prepared.training.fingerprint());
    if was != is {
        return Err(Error::OtherData { folder: out.display().to_string(), was, is });
    }
    let number = |key: &str| {
        metadata(key)
            .parse::<u64>()
            .map_err(|_| misfit(CheckpointMismatch::Number(key.to_owned())))
    };
    state.images = checkpoint.images;
    state.updates = number("updates")?;
    state.skipped = number("skipped")?;
    state.skipped_in_row = number("skipped_in_row")?;
    let mut tensors: HashMap<String, Vec<f32>> = checkpoint.tensors.into_iter().map(|t| (t.name, t.data)).collect();
    let set = objective.params();
    let mut take = |name: &str| {
        let values = tensors.remove(name).filter(|values| values.len() == set.len());
        values.ok_or_else(|| misfit(CheckpointMismatch::Tensor(name.to_owned())))
    };
    state.params = B::Flat::upload(set, &take("params")?, device);
    let (divides, mut whole) = (!state.share.is_whole(), HashMap::new());
    for (name, place) in state.divided_mut() {
        let values = take(&name)?;
        if divides {
            whole.insert(name, values);
        } else {
            *place = B::Flat::upload(set, &values, device);
        }
    }
    objective
        .restore(&mut |name| tensors.remove(&format!("objective.{name}")))
        .map_err(|name| misfit(CheckpointMismatch::Tensor(format!("objective.{name}"))))?;
    Ok(whole)
}

impl<B: Engine> Session<'_, B> {
    fn run(&mut self) -> Result<End, Error> {
        let config = &self.prepared.config;
        let mut gradient = B::Flat::zeros(self.objective.params(), self.device);
        let total = config.train.images;
        let mut end = End::Finished;
        if self.state.images > 0 && self.state.images < total && self.options.stop_at.is_some_and(|at| self.state.images >= at) {
            return Ok(End::Stopped);
        }
        // One grid before training shows what the strip starts from.
        let not_sampled = (self.state.images == 0 || self.due.sample) && !self.sample()?;
        let cut_short = self.options.ranks.any(not_sampled) || self.due.measurement && !self.measure()?;
        if self.options.ranks.any(cut_short) {
            end = End::Interrupted;
        }
        if end == End::Interrupted && self.state.images == 0 {
            self.progress.finish();
            self.tell(&interrupt::sentence(None));
            return Ok(end);
        }
        let caught_up = self.due.sample || self.due.measurement;
        if end == End::Finished && caught_up && self.state.images >= total {
            self.due = Due::default();
            self.save()?;
        }
        while self.state.images < total && end == End::Finished {
            let before = self.state.images;
            self.step(before, &mut gradient)?;
            let now = self.state.images;
            let crossed = |every: u64| now / every > before / every;
            if self.options.ranks.any(self.options.interrupt.requested()) {
                end = End::Interrupted;
            } else if self.options.stop_at.is_some_and(|at| now >= at) && now < total {
                end = End::Stopped;
            }
            let last = now >= total || end != End::Finished;
            let mut save = last || crossed(config.output.checkpoint_every);
            if crossed(config.output.log_every) || save {
                self.write_metrics()?;
            }
            let sampled = crossed(config.output.sample_every) || now >= total;
            self.due.sample = sampled && !self.sample()?;
            let measured = config.quality.every > 0 && (crossed(config.quality.every) || now >= total);
            self.due.measurement = measured && !self.measure()?;
            if (sampled || measured) && self.options.ranks.any(self.due.sample || self.due.measurement) {
                (end, save) = (End::Interrupted, true);
                if self.window.images > 0 {
                    self.write_metrics()?;
                }
            }
            if save {
                self.save()?;
            }
        }
        replicas::compare::<B>(&self.options.ranks, &self.state.params)?;
        self.progress.finish();
        self.tell_sent();
        if let Some(Records { folder, .. }) = self.records.as_ref().filter(|_| end == End::Interrupted) {
            let saved = format!("{} at {}", folder.path().display(), count(self.state.images));
            note(&interrupt::sentence(Some(&saved)));
        }
        let lacks_model = |Records { folder, .. }: &Records| end == End::Finished && !folder.model().exists();
        if self.options.ranks.any(self.records.as_ref().is_some_and(lacks_model)) {
            self.export()?;
        }
        Ok(end)
    }

    /// Takes the step after `before` images.
    fn step(&mut self, before: u64, gradient: &mut B::Flat) -> Result<(), Error> {
        let (config, ranks) = (&self.prepared.config, &self.options.ranks);
        self.window.start();
        let progress = TrainingProgress { share: ranks.share(), ..self.prepared.progress(before) };
        let (objective, state) = (&mut *self.objective, &mut self.state);
        let before_step = [ranks.sent_in_ring(), ranks.sent().unwrap_or_default()];
        let outcome = step(objective, state, &progress, &config.optimiser, &config.schedule, gradient, ranks);
        self.sent.steps += 1;
        self.sent.in_ring += ranks.sent_in_ring() - before_step[0];
        self.sent.by_tcp += ranks.sent().unwrap_or_default() - before_step[1];
        self.tell_bad_files();
        let outcome = outcome.or_else(|error| self.stop_at_bad_file(error, before))?;
        self.account(outcome)?;
        if (self.state.images / config.train.batch as u64).is_multiple_of(replicas::COMPARED_EVERY) {
            replicas::compare::<B>(ranks, &self.state.params)?;
        }
        Ok(())
    }

    /// Says what ranks have sent in a step.
    fn tell_sent(&self) {
        let (ranks, Sent { steps, in_ring, by_tcp }) = (&self.options.ranks, self.sent);
        if ranks.is_alone() || steps == 0 {
            return;
        }
        let ring = format!("in a ring {} bytes by each of {} ranks", in_ring / steps, ranks.size());
        if ranks.sent().is_none() {
            // Libraries choose their ways.
            return self.tell(&format!("told each other in a step: {ring}"));
        }
        let sent = ranks.all_gather(&[by_tcp / steps]);
        let most = sent.iter().skip(1).max().copied().unwrap_or_default();
        self.tell(&format!("told each other in a step: {} bytes by rank 0 and {most} by each other; {ring}", sent[0]));
    }

    /// A line for people, of one rank.
    fn tell(&self, line: &str) {
        if self.options.ranks.is_first() {
            note(line);
        }
    }

    /// Says which files others took the place of.
    fn tell_bad_files(&mut self) {
        for bad in self.prepared.training.newly_bad() {
            self.progress
                .warn(&format!("left out {bad}; the next picture of its class takes its place"));
        }
    }

    /// Saves what was trained before the step that cannot be taken.
    fn stop_at_bad_file(&mut self, error: StepError, images: u64) -> Result<Outcome, Error> {
        if self.window.images > 0 {
            self.write_metrics()?;
        }
        if images > 0 {
            self.save()?;
        }
        self.progress.finish();
        self.options.ranks.barrier(); // nobody ends while rank 0 saves
        Err(Error::BadFileOnTheWay { images, error })
    }

    /// Adds a step to the window; stops after too many skipped ones.
    fn account(&mut self, outcome: Outcome) -> Result<(), Error> {
        self.window.images += self.prepared.config.train.batch as u64;
        match outcome {
            Outcome::Taken { loss, gradient_norm, rate } => {
                let loss = self.window.add(loss, gradient_norm, rate, &self.prepared.config.noise);
                // The last step may reach beyond the run's end by a part of its batch.
                self.progress.update(self.state.images.min(self.prepared.config.train.images), loss);
            }
            Outcome::Skipped { tensor } => {
                let images = self.state.images;
                if self.options.ranks.is_first() {
                    self.progress.warn(&format!(
                        "step before {} skipped: {tensor} is not finite ({} so far)",
                        counted(images as usize, "image", "images"),
                        self.state.skipped
                    ));
                }
                if self.state.skipped_in_row >= self.prepared.config.train.max_skipped {
                    return Err(Error::Diverged { count: self.state.skipped_in_row, tensor, images });
                }
            }
        }
        Ok(())
    }

    fn write_metrics(&mut self) -> Result<(), Error> {
        let line = std::mem::take(&mut self.window).line(self.state.skipped, &self.prepared.config.noise, &self.options.ranks);
        if let Some(records) = &mut self.records {
            records.metrics.append(self.state.images, &line)?;
        }
        Ok(())
    }

    /// The parameters of model files, for rank 0; all ranks ask for them together.
    fn exported(&self) -> Cow<'_, [f32]> {
        if !self.options.ranks.is_first() && self.state.share.is_whole() {
            return Cow::default();
        }
        // A validated configuration names an average that is there.
        let average = self
            .state
            .average::<B>(&self.prepared.config.ema.export, self.objective.params(), &self.options.ranks);
        average.unwrap_or_else(|| self.state.params.host())
    }

    fn generator(&self) -> Generator<'_> {
        let config = &self.prepared.config;
        Generator {
            config: &config.model,
            noise: &config.noise,
            parametrisation: parametrisation(config),
            normalisation: &self.prepared.normalisation,
            set: self.objective.params(),
        }
    }

    /// Grids of fixed latents, and a row of the strip: of a one-step generator of stage 2b in one and two steps.
    /// Says whether it did: not if someone asked to stop meanwhile.
    fn sample(&mut self) -> Result<bool, Error> {
        let config = &self.prepared.config;
        let drawings: &[(&str, Drawing)] = match config.stage {
            Stage::Pretrain(_) => return Ok(true),
            Stage::Diffusion(_) => &[("heun", Drawing::PREVIEW)],
            // Only one step is trained.
            Stage::Drift(_) => &[("1step", Drawing::Consistency { steps: 1 })],
            Stage::Consistency(_) => &[
                ("1step", Drawing::Consistency { steps: 1 }),
                ("2step", Drawing::Consistency { steps: 2 }),
            ],
        };
        let exported = self.exported();
        let Some(Records { folder, .. }) = &self.records else {
            return Ok(true);
        };
        let columns = config.model.classes.min(10);
        let classes: Vec<usize> = (0..columns * config.output.sample_rows).map(|i| i % columns).collect();
        let mut generator = self.generator().load::<B>(&exported, None, self.device);
        for (number, &(name, drawing)) in drawings.iter().enumerate() {
            let mut bytes = Vec::new();
            for (first, classes) in (0..).step_by(columns).zip(classes.chunks(columns)) {
                let wanted = SampleRequest { seed: config.output.sample_seed, first, classes, drawing };
                bytes.extend(generator.draw(&wanted));
                if self.options.interrupt.requested() {
                    return Ok(false);
                }
            }
            let pictures = Picture::squares(&bytes, config.model.size, config.model.channels)?;
            let path = folder.samples().join(format!("images-{:09}-{name}.png", self.state.images));
            let names: Vec<&String> = classes
                .iter()
                .filter_map(|&class| self.prepared.training.class_names.get(class))
                .collect();
            Grid::enlarged(columns, config.model.size).save_named(&path, &pictures, &names)?;
            if number == 0 {
                let row = Grid { columns, scale: 2 }.compose(&pictures[..columns])?;
                strip::append(&folder.samples().join("strip.png"), self.state.images, &row)?;
            }
        }
        Ok(true)
    }

    /// Measures pictures of the exported average, and keeps the model if it is the best so far.
    /// Says whether it did: not if someone asked to stop meanwhile.
    fn measure(&mut self) -> Result<bool, Error> {
        let watch = self.records.as_mut().and_then(|records| records.watch.take());
        let exported = self.exported();
        let Some(mut watch) = watch else {
            return Ok(true);
        };
        let measured = watch.measure::<B>(&self.generator(), &exported, self.device, &self.options.interrupt)?;
        if let Some(quality) = measured {
            let images = self.state.images;
            let best = watch.is_best(&quality);
            if let Some(Records { folder, .. }) = self.records.as_ref().filter(|_| best) {
                let state = self.objective.state();
                save_model(&self.prepared.model_file(self.objective.params(), &exported, images, state), &folder.best())?;
            }
            drop(exported);
            if let Some(Records { metrics, .. }) = &mut self.records {
                metrics.append(images, &BTreeMap::from([("quality", quality)]))?;
            }
            let [fd, kd] = [quality.fd, quality.kd].map(|value| value.unwrap_or(f64::NAN));
            let best = if best { ", the best so far" } else { "" };
            self.progress
                .message(&format!("quality of {} pictures: FD {fd:.2}, KD {kd:.4}{best}", quality.count));
        }
        if let Some(records) = &mut self.records {
            records.watch = Some(watch);
        }
        Ok(measured.is_some())
    }

    fn save(&mut self) -> Result<(), Error> {
        let (set, ranks, state) = (self.objective.params(), &self.options.ranks, &self.state);
        let whole = |name: String, data: Vec<f32>| NamedTensor { name, shape: vec![data.len()], data };
        let mut tensors = Vec::new();
        if ranks.is_first() {
            tensors.push(whole("params".into(), state.params.host().into_owned()));
        }
        for (name, values) in state.divided().filter(|_| ranks.is_first() || !state.share.is_whole()) {
            let values = values.whole(set, state.share, ranks);
            if ranks.is_first() {
                tensors.push(whole(name, values.into_owned()));
            }
        }
        let Some(Records { folder, metrics, .. }) = &mut self.records else {
            return self.export();
        };
        if let Some(products) = B::products(self.device) {
            metrics.append(self.state.images, &BTreeMap::from([("products", products)]))?;
        }
        metrics.sync()?;
        let objective = self.objective.state().into_iter();
        tensors.extend(objective.map(|(name, values)| whole(format!("objective.{name}"), values)));
        let mut metadata = BTreeMap::from([
            ("updates".to_owned(), state.updates.to_string()),
            ("skipped".to_owned(), state.skipped.to_string()),
            ("skipped_in_row".to_owned(), state.skipped_in_row.to_string()),
            ("data".to_owned(), self.prepared.training.fingerprint()),
        ]);
        let due = [("sample_due", self.due.sample), ("measurement_due", self.due.measurement)];
        metadata.extend(
            due.into_iter()
                .filter(|(_, due)| *due)
                .map(|(key, _)| (key.to_owned(), "true".to_owned())),
        );
        metadata.extend(self.prepared.start.fingerprints.clone());
        let checkpoint = Checkpoint { images: state.images, tensors, metadata };
        checkpoint::save(folder, &checkpoint, self.prepared.config.output.keep)?;
        self.export()
    }

    fn export(&self) -> Result<(), Error> {
        let exported = self.exported();
        let Some(Records { folder, .. }) = &self.records else {
            return Ok(());
        };
        let file = self
            .prepared
            .model_file(self.objective.params(), &exported, self.state.images, self.objective.state());
        save_model(&file, &folder.model())
    }
}
