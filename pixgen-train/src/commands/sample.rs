//! `sample`: pictures of a model, as a grid or as files for other programs.

use super::drawn;
use crate::cli::{ModelArgs, SampleArgs};
use crate::device::{DeviceChoice, OnDevice, Requirements};
use crate::distributed::Collective;
use crate::error::Error;
use crate::run::averages::average;
use crate::sample_set::archive::{ArchiveForm, assemble};
use crate::sample_set::folder::file_name;
use crate::sample_set::{Manifest, SampleFolder, SampleSetError, draw};
use crate::sampling::{Drawing, Generator, SampleRequest};
use crate::training::Engine;
use crate::walk::{Endpoint, Walk};
use pixgen_edge::commands::classes::{named, of_file};
use pixgen_edge::interrupt;
use pixgen_edge::model_file::{ModelFile, ModelHeader};
use pixgen_edge::output;
use pixgen_edge::picture::{Grid, Picture, Preview, animation};
use pixgen_edge::terminal::{listed, note, print_bytes, printable};
use pixgen_edge::units::counted;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Pictures of each class in a grid, if not given.
const GRID_COUNT: u32 = 8;
/// The most of them.
const GRID_LIMIT: u32 = 1000;

/// Pictures of a walk, if not given, and how fast they are shown.
const WALK_COUNT: u32 = 60;
const FRAMES_PER_SECOND: u16 = 20;

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// One picture with all pictures.
    Grid,
    /// A file for each.
    Folder,
    /// All in one file.
    Archive(ArchiveForm),
}

/// What `--out` asks for: a name without an ending is a folder, unless something else is there.
fn output(out: &Path) -> Result<Output, Error> {
    let text = out.to_string_lossy();
    if out.is_dir() || text.ends_with(std::path::is_separator) {
        return Ok(Output::Folder);
    }
    let ending = out.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    match ending.as_deref() {
        Some("png") => Ok(Output::Grid),
        Some("npz") => Ok(Output::Archive(ArchiveForm::Npz)),
        Some("zip") => Ok(Output::Archive(ArchiveForm::Zip)),
        // A device or a pipe takes whatever comes.
        Some(_) if std::fs::metadata(out).is_ok_and(|there| !there.is_file()) => Ok(Output::Grid),
        Some(other) => Err(Error::Argument {
            what: format!("--out {text}: pictures are not written as .{other}"),
            hint: Some(format!("use .png for a grid, .npz or .zip for one file with all pictures, or `{text}/` for a folder of them")),
        }),
        // A pipe, a device, or a file of an earlier time.
        None if text == "-" || out.exists() => Ok(Output::Grid),
        None => Ok(Output::Folder),
    }
}

/// Numbers of the classes that a user names.
fn classes(header: &ModelHeader, text: &str) -> Result<Vec<usize>, Error> {
    let names = of_file(&header.class_names, header.model.classes);
    if text == "all" {
        return Ok((0..header.model.classes).collect());
    }
    let by_name = named(&names, text);
    let by_number = text.parse::<usize>().ok().filter(|&n| n < header.model.classes);
    by_name.or(by_number).map(|class| vec![class]).ok_or_else(|| Error::Argument {
        what: format!("--class {}: the model has no such class", printable(text)),
        hint: Some(format!("use `all`, 0 to {}, or one of: {}", header.model.classes - 1, listed(&names))),
    })
}

/// Files are drawn by all `ranks`, each on its `device`, and written by rank 0; the rest is for rank 0 alone.
pub(super) fn run(args: &SampleArgs, quiet: bool, ranks: &Collective, device: DeviceChoice) -> Result<(), Error> {
    let output = match output(&args.out) {
        Err(_) if args.walk.is_some() => return Err(no_walk(&args.out)),
        output => output?,
    };
    if args.preview {
        output::refuse_stdout("--out", &args.out, "prints a preview there")?;
    }
    let count = count(args, output)?;
    if !ranks.is_first() && (args.walk.is_some() || output == Output::Grid) {
        return Ok(());
    }
    let ModelArgs { model, ema } = &args.model;
    let file = drawn::drawing(average(model, ema.as_deref())?, model)?;
    let (drawing, weak) = drawn::choose(&args.drawn, args.guidance, &file)?;
    if let Some(text) = &args.walk {
        let ends = endpoints(&file.header, text, args.seed)?;
        let walk = Walk { from: ends[0], to: ends[1], frames: count as usize, drawing };
        return animate(args, &file, weak.as_ref(), walk, device);
    }
    let asked = classes(&file.header, &args.class)?;
    let job = Job { args, file: &file, weak: weak.as_ref(), drawing, asked, ranks, device };
    match output {
        Output::Grid => job.grid(count as usize),
        Output::Folder => job.files(u64::from(count), None, quiet),
        Output::Archive(form) => job.files(u64::from(count), Some(form), quiet),
    }
}

/// A walk goes into a picture.
fn no_walk(out: &Path) -> Error {
    Error::Argument {
        what: format!("--walk writes an animated PNG, and {} is none", out.display()),
        hint: Some("for example --out walk.png".to_owned()),
    }
}

/// `--count`: of each class for a grid, of all for files.
fn count(args: &SampleArgs, output: Output) -> Result<u32, Error> {
    let wrong = |what: String, hint: String| Error::Argument { what, hint: Some(hint) };
    let out = args.out.display();
    if args.walk.is_some() {
        return match (output, args.count.unwrap_or(WALK_COUNT)) {
            (Output::Grid, count @ 2..=GRID_LIMIT) => Ok(count),
            (Output::Grid, count) => {
                Err(wrong(format!("--count {count}: a walk has 2 to {GRID_LIMIT} pictures"), "leave it out for 60".to_owned()))
            }
            _ => Err(no_walk(&args.out)),
        };
    }
    match (output, args.count) {
        (Output::Grid, Some(count)) if count > GRID_LIMIT => Err(wrong(
            format!("--count {count}: a grid has at most {GRID_LIMIT} pictures of each class"),
            format!("for files give a folder, for example --out samples/; {count} is then the number of all pictures"),
        )),
        (Output::Grid, count) => Ok(count.unwrap_or(GRID_COUNT)),
        (_, None) => Err(wrong(format!("--out {out}: how many pictures?"), "add --count N, the number of all pictures".to_owned())),
        (_, Some(_)) if args.preview => {
            Err(wrong(format!("--preview shows a grid, and {out} is none"), "leave it out, or give --out grid.png".to_owned()))
        }
        (_, Some(count)) => Ok(count),
    }
}

/// The two ends of `A..B`.
fn endpoints(header: &ModelHeader, text: &str, seed: u64) -> Result<[Endpoint; 2], Error> {
    let wrong = |what: String| Error::Argument {
        what: format!("--walk {}: {what}", printable(text)),
        hint: Some(format!(
            "for example 0:7..{}:9; a class is 0 to {0}, or one of: {}",
            header.model.classes - 1,
            listed(&of_file(&header.class_names, header.model.classes))
        )),
    };
    let (from, to) = text.split_once("..").ok_or_else(|| wrong("two ends are needed, A..B".to_owned()))?;
    let end = |text: &str| {
        // A class name may hold colons itself.
        let mut class = text;
        let mut numbers = Vec::new();
        loop {
            if let Ok(classes) = classes(header, class)
                && let [class] = classes[..]
            {
                let [seed, number] = match numbers[..] {
                    [] => [seed, 0],
                    [seed] => [seed, 0],
                    [number, seed, ..] => [seed, number],
                };
                return Ok(Endpoint { class, seed, number });
            }
            match class.rsplit_once(':').map(|(class, number)| (class, number.parse::<u64>())) {
                Some((rest, Ok(number))) if numbers.len() < 2 => {
                    numbers.push(number);
                    class = rest;
                }
                _ => return Err(wrong(format!("`{text}` is not CLASS, CLASS:SEED or CLASS:SEED:NUMBER"))),
            }
        }
    };
    let ends = [end(from)?, end(to)?];
    if ends[0] == ends[1] {
        return Err(wrong("both ends are the same picture".to_owned()));
    }
    Ok(ends)
}

/// Frames of a walk.
struct DrawWalk<'a> {
    walk: Walk,
    file: &'a ModelFile,
    weak: Option<&'a ModelFile>,
}

impl OnDevice for DrawWalk<'_> {
    type Output = Vec<u8>;

    fn run<B: Engine>(self, device: &B::Device) -> Vec<u8> {
        self.walk.draw::<B>(self.file, self.weak, device)
    }
}

/// What drawing asks of a device. `weak` is the weaker model of autoguidance.
fn requirements(file: &ModelFile, weak: Option<&ModelFile>) -> Requirements {
    Requirements::inference(file.params.len() + weak.map_or(0, |weak| weak.params.len()))
}

fn animate(args: &SampleArgs, file: &ModelFile, weak: Option<&ModelFile>, walk: Walk, device: DeviceChoice) -> Result<(), Error> {
    let bytes = device.run(requirements(file, weak), DrawWalk { walk, file, weak })?;
    let model = &file.header.model;
    let one = Grid::enlarged(1, model.size);
    let pictures = Picture::squares(&bytes, model.size, model.channels)?;
    let frames: Vec<Picture> = pictures
        .iter()
        .map(|picture| one.compose(std::slice::from_ref(picture)))
        .collect::<Result<_, _>>()?;
    let png = animation::encode(&frames, FRAMES_PER_SECOND)?;
    output::write(&args.out, |out| out.write_all(&png))?;
    let [from, to] = [walk.from, walk.to].map(|end| format!("{}:{}:{}", class_name(&file.header, end.class), end.seed, end.number));
    if output::was_read(&args.out) {
        note(&format!("{} pictures from {from} to {to}: {}", walk.frames, output::shown(&args.out)));
    }
    Ok(())
}

/// A model with what is asked of it.
struct Job<'a> {
    args: &'a SampleArgs,
    file: &'a ModelFile,
    /// The weaker model of autoguidance.
    weak: Option<&'a ModelFile>,
    drawing: Drawing,
    /// Classes, one after another.
    asked: Vec<usize>,
    ranks: &'a Collective,
    device: DeviceChoice,
}

/// Pictures in memory.
struct DrawGrid<'a> {
    job: &'a Job<'a>,
    request: SampleRequest<'a>,
}

impl OnDevice for DrawGrid<'_> {
    type Output = Vec<u8>;

    fn run<B: Engine>(self, device: &B::Device) -> Vec<u8> {
        let Job { file, weak, .. } = *self.job;
        Generator::from(file).draw::<B>(&file.params, weak, device, &self.request)
    }
}

/// Pictures in a folder.
struct DrawFiles<'a> {
    job: &'a Job<'a>,
    folder: Option<&'a SampleFolder>,
    manifest: &'a Manifest,
    count: u64,
    quiet: bool,
}

impl OnDevice for DrawFiles<'_> {
    type Output = Result<(), SampleSetError>;

    fn run<B: Engine>(self, device: &B::Device) -> Self::Output {
        let Job { file, weak, ranks, .. } = *self.job;
        let mut generator = Generator::from(file).load::<B>(&file.params, weak, device);
        draw::complete(self.folder, self.manifest, &mut generator, self.count, ranks, self.quiet)
    }
}

impl Job<'_> {
    fn grid(&self, count: usize) -> Result<(), Error> {
        let Self { args, file, drawing, asked, .. } = self;
        // A column for each class; a single class fills rows of up to ten.
        let (columns, order): (usize, Vec<usize>) = match asked[..] {
            [class] => (count.min(10), vec![class; count]),
            _ => (asked.len(), (0..asked.len() * count).map(|i| asked[i % asked.len()]).collect()),
        };
        let request = SampleRequest { seed: args.seed, first: 0, classes: &order, drawing: *drawing };
        let bytes = self.device.run(requirements(file, self.weak), DrawGrid { job: self, request })?;
        let model = &file.header.model;
        let pictures = Picture::squares(&bytes, model.size, model.channels)?;
        let names: Vec<String> = order.iter().map(|&class| class_name(&file.header, class)).collect();
        Grid::enlarged(columns, model.size).save_named(&args.out, &pictures, &names)?;
        if output::was_read(&args.out) {
            note(&format!(
                "{} in {}: {}",
                counted(order.len(), "picture", "pictures"),
                self.evaluations(),
                output::shown(&args.out)
            ));
        }
        if args.preview || (std::io::stdout().is_terminal() && !output::is_stdout(&args.out)) {
            let preview = Preview::from_environment(|name| std::env::var(name).ok());
            print_bytes(preview.render(&Grid { columns, scale: 1 }.compose(&pictures)?).as_bytes())?;
        }
        Ok(())
    }

    /// `1 step`, `63 evaluations`.
    fn evaluations(&self) -> String {
        let evaluations = self.drawing.evaluations(&self.file.header.noise) as usize;
        match self.drawing {
            Drawing::Consistency { .. } => counted(evaluations, "step", "steps"),
            Drawing::Diffusion { .. } => counted(evaluations, "evaluation", "evaluations"),
        }
    }

    /// Files in a folder; an archive is assembled from a folder beside it, which is then removed.
    fn files(&self, count: u64, form: Option<ArchiveForm>, quiet: bool) -> Result<(), Error> {
        let Self { args, file, drawing, asked, .. } = self;
        let place = form.map_or_else(|| args.out.clone(), |_| parts(&args.out));
        let manifest = Manifest {
            schema: 1,
            model: file.fingerprint(),
            ema: file.header.ema.clone(),
            images_seen: file.header.images,
            weak: self.weak.map(ModelFile::fingerprint),
            drawing: *drawing,
            seed: args.seed,
            classes: asked.clone(),
            class_names: asked.iter().map(|&class| class_name(&file.header, class)).collect(),
        };
        let folder = if self.ranks.is_first() {
            Some(SampleFolder::open(&place, manifest.clone())?)
        } else {
            None
        };
        let work = DrawFiles { job: self, folder: folder.as_ref(), manifest: &manifest, count, quiet };
        self.device.run(requirements(file, self.weak), work)??;
        let Some(folder) = folder else { return Ok(()) };
        if let Some(form) = form {
            assemble(&folder, count, form, &args.out)?;
            interrupt::saved(&args.out.display().to_string());
            folder.remove(count)?;
        }
        let drawn = counted(count as usize, "picture", "pictures");
        note(&format!("{drawn} in {}: {}{}", self.evaluations(), args.out.display(), self.rule(count, form)));
        Ok(())
    }

    /// What the pictures are called, and which class a picture is of.
    fn rule(&self, count: u64, form: Option<ArchiveForm>) -> String {
        let names = match form {
            None => format!(", {} to {}", file_name(0), file_name(count - 1)),
            Some(_) => String::new(),
        };
        match self.asked.len() {
            1 => names,
            classes => format!("{names}; picture N is of class N mod {classes}"),
        }
    }
}

/// The name of a class, or its number where the model has no names.
fn class_name(header: &ModelHeader, class: usize) -> String {
    header.class_names.get(class).cloned().unwrap_or_else(|| class.to_string())
}

/// What the name of the folder of parts ends in.
const PARTS: &str = ".parts";
/// Bytes of the longest names that disks take.
const LONGEST_NAME: usize = 255;

/// The folder that an archive is assembled from. A name that leaves no room for the ending is cut, and told apart by its checksum.
fn parts(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    if name.len() + PARTS.len() > LONGEST_NAME {
        let text = name.to_string_lossy();
        let checksum = format!(".{:08x}", crc32fast::hash(text.as_bytes()));
        let end = text.floor_char_boundary(LONGEST_NAME - PARTS.len() - checksum.len());
        name = format!("{}{checksum}", &text[..end]).into();
    }
    name.push(PARTS);
    out.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_parts_has_a_name_that_disks_take() {
        assert_eq!(parts(Path::new("a/set.npz")), Path::new("a/set.npz.parts"));
        let folder = tempfile::tempdir().unwrap();
        for long in ["x".repeat(251), "\u{e9}".repeat(125) + "y", "\u{732b}".repeat(83)] {
            let [npz, zip] = ["npz", "zip"].map(|ending| parts(&folder.path().join(format!("{long}.{ending}"))));
            assert_ne!(npz, zip, "two archives have two folders");
            std::fs::create_dir(npz).unwrap();
        }
    }

    #[test]
    fn what_the_name_asks_for() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("old");
        std::fs::write(&file, "a picture").unwrap();
        for (out, wanted) in [
            ("grid.png", Output::Grid),
            ("GRID.PNG", Output::Grid),
            ("-", Output::Grid),
            ("/dev/null", Output::Grid),
            (file.to_str().unwrap(), Output::Grid),
            (folder.path().to_str().unwrap(), Output::Folder),
            ("samples", Output::Folder),
            ("samples.v2/", Output::Folder),
            ("set.npz", Output::Archive(ArchiveForm::Npz)),
            ("set.Zip", Output::Archive(ArchiveForm::Zip)),
        ] {
            assert_eq!(output(Path::new(out)).unwrap(), wanted, "{out}");
        }
        for out in ["x.jpg", "samples.v2", "x.tar"] {
            let error = output(Path::new(out)).unwrap_err();
            assert!(error.hint().unwrap().contains(&format!("`{out}/`")), "{error}");
        }
    }
}
