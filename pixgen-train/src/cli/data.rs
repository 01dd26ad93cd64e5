//! `data`: getting training pictures and looking at them.

use crate::packages::avatars::styles::Style;
use crate::packages::catalogue::Name;
use clap::{Args, Subcommand, ValueEnum, ValueHint};
use pixgen_edge::offered::PRESET_NAMES;
use std::path::PathBuf;

/// Verbs of `data`.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Download a data set from a package registry, check it and unpack it
    Get(DataGetArgs),
    /// Counts, classes, sizes, a contact sheet, and the first bad file by name
    Check(DataCheckArgs),
    /// Write the pictures at the training size into a zip archive or tar shards
    Prepare(DataPrepareArgs),
    /// Measure how fast pictures are read and decoded, beside the decoder alone and the need of training
    Bench(DataBenchArgs),
}

/// Arguments of `data get`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:  pixgen-train data get noto-emoji && pixgen-train data check data/noto-emoji\n           \
           pixgen-train data get avatars --cc0 --size 32 --count 4000\n\n\
    Run it again to resume an interrupted download. On an existing folder it only checks the files.\n\
    HTTPS_PROXY and NO_PROXY are respected; SSL_CERT_FILE replaces the system's certificates."
)]
pub struct DataGetArgs {
    /// What to get
    #[arg(value_enum)]
    pub name: Name,
    /// Folder to create; data/NAME by default. For weights, the file; by default in $PIXGEN_CACHE or ~/.cache/pixgen
    #[arg(long, value_hint = ValueHint::AnyPath)]
    pub out: Option<PathBuf>,
    /// Download over HTTP from a mirror of the registry at this address, instead of asking the registry's own client
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub mirror: Option<String>,
    /// Use this file of the package and download nothing
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, conflicts_with = "mirror")]
    pub file: Option<PathBuf>,
    /// Replace a folder that this command made, if it holds another set or was changed
    #[arg(long)]
    pub force: bool,
    /// noto-emoji: also the variants in five skin tones, 3,781 pictures in all
    #[arg(long)]
    pub skin_tones: bool,
    /// What avatars to draw
    #[command(flatten)]
    pub avatars: AvatarArgs,
}

/// Arguments of `data get avatars`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Avatars")]
pub struct AvatarArgs {
    /// Styles, with commas between them; each is a class. By default ten that look well from 32x32 on
    #[arg(long, value_name = "LIST", value_enum, value_delimiter = ',')]
    pub styles: Vec<Style>,
    /// The five styles that are free of any condition (CC0): lorelei, notionists, open-peeps, pixel-art, thumbs
    #[arg(long, conflicts_with = "styles")]
    pub cc0: bool,
    /// Pictures of each style to train on; 2700 by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub count: Option<u32>,
    /// Pictures of each style in the test part, none of which is in the other; 500 by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub held_out: Option<u32>,
    /// Height and width; 64 by default
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(8..=1024))]
    pub size: Option<u16>,
}

/// Arguments of `data check`.
#[derive(Debug, Args)]
pub struct DataCheckArgs {
    /// `bundled`, `bundled:avatars`, a folder of pictures, a zip archive, tar shards, or an IDX file or folder
    #[arg(value_hint = ValueHint::AnyPath)]
    pub path: String,
    /// Where to write the contact sheet, some pictures of every class
    #[arg(long, value_name = "PNG", value_hint = ValueHint::FilePath, default_value = "contact-sheet.png")]
    pub sheet: PathBuf,
    /// Write no contact sheet
    #[arg(long, conflicts_with = "sheet")]
    pub no_sheet: bool,
    /// Colour behind transparent pictures
    #[arg(long, default_value = "#ffffff")]
    pub background: String,
    /// Print only the hash of classes, labels and decoded pixels: the same pictures have the same one in every container
    #[arg(long, conflicts_with_all = ["sheet", "json"])]
    pub content_hash: bool,
    /// As JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `data prepare`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:  pixgen-train data prepare photos --size 256 --out photos-256.zip\n           \
     pixgen-train data prepare imagenet.tar --size 256 --format jpeg --out shards\n\n\
    Pictures are halved with a box filter while they are at least twice as large, then scaled bicubically and cropped to the central\n\
    square, as in ADM. A .zip gets the layout of EDM's tools (stored pictures, dataset.json), a folder gets tar shards for WebDataset.\n\
    The same pictures always give the same bytes."
)]
pub struct DataPrepareArgs {
    /// `bundled`, `bundled:avatars`, a folder of pictures (a folder for each class), a zip archive, tar shards, or an IDX file or folder
    #[arg(value_hint = ValueHint::AnyPath)]
    pub path: String,
    /// Height and width of the written pictures
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub size: u16,
    /// A .zip file, or a folder for tar shards; it must not exist
    #[arg(long, short, value_hint = ValueHint::AnyPath)]
    pub out: PathBuf,
    /// How pictures are stored
    #[arg(long, value_enum, default_value = "png")]
    pub format: FormatName,
    /// Quality of JPEG
    #[arg(long, default_value_t = 95, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub quality: u8,
    /// Write grey pictures instead of colour
    #[arg(long)]
    pub grey: bool,
    /// Pictures per tar shard
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub shard_images: u32,
    /// Colour behind transparent pictures
    #[arg(long, default_value = "#ffffff")]
    pub background: String,
    /// Leave bad files out instead of stopping
    #[arg(long)]
    pub skip_bad: bool,
    /// Close gaps in the numbers of the classes, for example 1 to 26, instead of refusing them; each keeps its number as its name
    #[arg(long)]
    pub relabel: bool,
}

/// How `data prepare` stores pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormatName {
    /// Without loss
    Png,
    /// Smaller and faster to read
    Jpeg,
}

/// Arguments of `data bench`.
#[derive(Debug, Args)]
#[command(after_help = "Example:  pixgen-train data bench photos-256.zip --threads 8\n\n\
    The ways of reading take turns in each round; the table shows medians over the rounds. What training needs comes from the\n\
    roofline: see `pixgen-train bench --roofline h100`.")]
pub struct DataBenchArgs {
    /// A folder of pictures, a zip archive or tar shards
    #[arg(value_hint = ValueHint::AnyPath)]
    pub path: String,
    /// The model that the pictures are for; `inspect --presets` lists them
    #[arg(long, default_value = "EPG-L-16-256", value_parser = PRESET_NAMES, hide_possible_values = true)]
    pub preset: String,
    /// Pictures per round, in the order of training
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub pictures: u32,
    /// Rounds
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// As JSON on stdout
    #[arg(long)]
    pub json: bool,
}
