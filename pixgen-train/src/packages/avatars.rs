//! Avatars: drawn by packages of npm, as many as are asked for, and packed into two archives.

pub mod node;
pub mod styles;

use super::error::PackageError;
use super::place::{Staging, WorkFolder};
use crate::data::prepare::{PictureArchive, PictureFormat, encode};
use crate::packages::catalogue::Name;
use crate::packages::checksum;
use crate::run::Progress;
use node::{Artist, Programs};
use pixgen_edge::data::ImageShape;
use pixgen_edge::file_error::FileError;
use pixgen_edge::interrupt::Interrupt;
use rayon::prelude::*;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use styles::Style;

/// Whom to thank for which style.
const CREDITS: &str = "CREDITS.txt";
/// Pictures of one request, so that Ctrl-C is heard.
const TOGETHER: u64 = 64;
/// The number of the first test picture; those of the training part begin at 0.
const TEST: u64 = 1 << 32;
/// Pictures in a row that were there before, after which a style has no others.
const FRUITLESS: u64 = 2000;

/// What to draw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvatarOptions {
    /// The classes, in this order.
    pub styles: Vec<Style>,
    /// Training pictures of each style.
    pub count: u32,
    /// Test pictures of each style.
    pub held_out: u32,
    /// Height and width of a picture.
    pub size: u16,
}

impl Default for AvatarOptions {
    fn default() -> Self {
        Self { styles: Style::USUAL.to_vec(), count: 2700, held_out: 500, size: 64 }
    }
}

impl AvatarOptions {
    /// As flags without their hyphens.
    pub fn words(&self) -> Vec<String> {
        let Self { count, held_out, size, .. } = self;
        let styles: Vec<&str> = self.styles.iter().map(|style| style.as_str()).collect();
        vec![
            format!("styles {}", styles.join(",")),
            format!("count {count}"),
            format!("held-out {held_out}"),
            format!("size {size}"),
        ]
    }

    fn parts(&self) -> [(&'static str, u64, u64); 2] {
        [("train.zip", 0, self.count.into()), ("test.zip", TEST, self.held_out.into())]
    }
}

/// Installs the packages in the work folder, from the npm registry at an address if there is one, and draws the pictures; `None` if the
/// user asked to stop.
///
/// # Errors
/// [`PackageError::Node`], [`PackageError::TooFew`], [`PackageError::Credit`], [`PackageError::File`].
pub fn draw(
    options: &AvatarOptions,
    programs: &Programs,
    registry: Option<&str>,
    work: &WorkFolder,
    (interrupt, quiet): (&Interrupt, bool),
) -> Result<Option<Staging>, PackageError> {
    let folder = work.client_folder()?;
    let installed = programs.install(&folder, registry);
    if interrupt.requested() {
        return Ok(None);
    }
    installed?;
    let mut staging = work.stage(Name::Avatars.package())?;
    credit(&options.styles, &folder, &mut staging)?;

    let total = options.parts().iter().map(|(_, _, count)| count).sum::<u64>() * options.styles.len() as u64;
    let mut drawing = Drawing {
        options,
        artist: programs.artist(&folder)?,
        seen: vec![HashSet::new(); options.styles.len()],
        interrupt,
        progress: Progress::new("drawing", 0, total, quiet),
        done: 0,
    };
    for (name, first, count) in options.parts() {
        if count > 0 && !drawing.part(&staging.root().join(name), first, count)? {
            return Ok(None);
        }
    }
    drawing.progress.finish();
    let AvatarOptions { count, held_out, size, .. } = options;
    let classes = options.styles.len();
    staging.summarise(format!("{count} + {held_out} pictures of {size}x{size} in each of {classes} classes"));
    Ok(Some(staging))
}

/// Writes the credits, and keeps the packages' own words about their licences.
fn credit(styles: &[Style], folder: &Path, staging: &mut Staging) -> Result<(), PackageError> {
    let (mut credits, mut licences) = (String::from("Each class of pictures is a style:\n"), String::new());
    for &style in styles {
        let path = folder.join("node_modules/@dicebear").join(style.as_str()).join("LICENSE");
        let text = fs::read_to_string(&path).map_err(FileError::read(&path))?;
        let lines = style.credit().lines();
        if let Some(line) = lines.iter().find(|line| !text.lines().any(|found| found == *line)) {
            return Err(PackageError::Credit { path, line: line.clone() });
        }
        credits += &format!("\n{style}\n  {}\n", lines.join("\n  "));
        licences += &format!("{style}\n\n{}\n\n", text.trim());
    }
    credits += "\nDrawn with DiceBear (https://www.dicebear.com, MIT) and resvg (https://github.com/linebender/resvg).\n";
    staging.licence(licences.as_bytes());
    staging.write(CREDITS, credits.as_bytes())
}

struct Drawing<'a> {
    options: &'a AvatarOptions,
    artist: Artist,
    /// Checksums of the pictures of each style.
    seen: Vec<HashSet<String>>,
    interrupt: &'a Interrupt,
    progress: Progress,
    done: u64,
}

impl Drawing<'_> {
    /// Draws `count` pictures of each style from number `first` on, without those that are there already; false if the user asked to stop.
    fn part(&mut self, path: &Path, first: u64, count: u64) -> Result<bool, PackageError> {
        let file = File::create(path).map_err(FileError::write(path))?;
        let mut archive = PictureArchive::new(file);
        for (label, &style) in self.options.styles.iter().enumerate() {
            let (mut kept, mut number, mut last_new) = (0, first, first);
            while kept < count {
                if self.interrupt.requested() {
                    return Ok(false);
                }
                let numbers = number..number + TOGETHER.min(count - kept);
                number = numbers.end;
                let mut pictures = self.artist.draw(style, self.options.size, numbers)?;
                pictures.retain(|pixels| self.seen[label].insert(checksum::of_bytes(pixels)));
                self.add(&pictures, label as u16, &mut archive).map_err(FileError::write(path))?;
                if !pictures.is_empty() {
                    last_new = number;
                } else if number - last_new >= FRUITLESS {
                    let Self { options: AvatarOptions { count, held_out, size, .. }, seen, .. } = self;
                    let (found, asked) = (seen[label].len(), u64::from(*count) + u64::from(*held_out));
                    return Err(PackageError::TooFew { style: style.as_str(), size: *size, found, asked });
                }
                kept += pictures.len() as u64;
                self.done += pictures.len() as u64;
                self.progress.update(self.done, None);
            }
        }
        let names: Vec<String> = self.options.styles.iter().map(Style::to_string).collect();
        archive.finish(&names).map_err(FileError::write(path))?;
        Ok(true)
    }

    fn add(&self, pictures: &[Vec<u8>], label: u16, archive: &mut PictureArchive) -> io::Result<()> {
        let side = usize::from(self.options.size);
        let shape = ImageShape { height: side, width: side, channels: 3 };
        let encoded: Vec<_> = pictures.par_iter().map(|pixels| encode(pixels, shape, PictureFormat::Png)).collect();
        for bytes in encoded {
            archive.add(&bytes.map_err(io::Error::other)?, PictureFormat::Png, label)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
