//! The styles that avatars are drawn in, with their designers and licences.

use clap::ValueEnum;
use std::fmt;

/// A style; each is a class of the data set.
///
/// Styles whose licence is neither CC0 nor CC BY are not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Style {
    /// By Lisa Wischofsky, CC BY 4.0
    Adventurer,
    /// By The Visual Team, CC BY 4.0
    BigEars,
    /// By Ashley Seo, CC BY 4.0
    BigSmile,
    /// By vijay verma, CC BY 4.0
    Croodles,
    /// By Davis Uche, CC BY 4.0
    FunEmoji,
    /// By Lisa Wischofsky, CC0 1.0
    Lorelei,
    /// By Micah Lanier, CC BY 4.0
    Micah,
    /// By Webpixels, CC BY 4.0
    Miniavs,
    /// By Zoish, CC0 1.0
    Notionists,
    /// By Pablo Stanley, CC0 1.0
    OpenPeeps,
    /// By Draftbit, CC BY 4.0
    Personas,
    /// By DiceBear, CC0 1.0
    PixelArt,
    /// By DiceBear, CC0 1.0
    Thumbs,
    /// By Johan Melin, CC BY 4.0
    ToonHead,
}

/// Whose design a style is, in the words of its package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    /// Title of the design and its address.
    pub source: [&'static str; 2],
    /// Designer and address.
    pub designer: [&'static str; 2],
    /// Licence of the design.
    pub licence: Licence,
}

/// Licence of a design.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Licence {
    /// Given to everybody.
    Cc0,
    /// The designer has to be named.
    CcBy,
}

impl Style {
    /// As it is typed, and the name of its package.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Adventurer => "adventurer",
            Self::BigEars => "big-ears",
            Self::BigSmile => "big-smile",
            Self::Croodles => "croodles",
            Self::FunEmoji => "fun-emoji",
            Self::Lorelei => "lorelei",
            Self::Micah => "micah",
            Self::Miniavs => "miniavs",
            Self::Notionists => "notionists",
            Self::OpenPeeps => "open-peeps",
            Self::Personas => "personas",
            Self::PixelArt => "pixel-art",
            Self::Thumbs => "thumbs",
            Self::ToonHead => "toon-head",
        }
    }

    /// Styles that look well at 32x32 and of which every seed gives another picture, those of CC0 among them.
    pub const USUAL: [Self; 10] = [
        Self::Adventurer,
        Self::BigEars,
        Self::BigSmile,
        Self::Lorelei,
        Self::Micah,
        Self::Notionists,
        Self::OpenPeeps,
        Self::PixelArt,
        Self::Thumbs,
        Self::ToonHead,
    ];

    /// Whether the design belongs to everybody.
    pub fn is_free(self) -> bool {
        self.credit().licence == Licence::Cc0
    }

    /// Whose design it is.
    pub const fn credit(self) -> Credit {
        use Licence::{Cc0, CcBy};
        let (licence, source, designer) = match self {
            Self::Adventurer => (CcBy, ["Adventurer", "https://www.figma.com/community/file/1184595184137881796"], LISA_WISCHOFSKY),
            Self::BigEars => (
                CcBy,
                ["Face Generator", "https://www.figma.com/community/file/986078800058673824"],
                ["The Visual Team", "https://thevisual.team/"],
            ),
            Self::BigSmile => (
                CcBy,
                ["Custom Avatar", "https://www.figma.com/community/file/881358461963645496"],
                ["Ashley Seo", "http://www.ashleyseo.com/"],
            ),
            Self::Croodles => (
                CcBy,
                [
                    "Croodles - Doodle your face",
                    "https://www.figma.com/community/file/966199982810283152",
                ],
                ["vijay verma", "https://vjy.me/"],
            ),
            Self::FunEmoji => (
                CcBy,
                ["Fun Emoji Set", "https://www.figma.com/community/file/968125295144990435"],
                ["Davis Uche", "https://www.instagram.com/davedirect3/"],
            ),
            Self::Lorelei => (Cc0, ["Lorelei", "https://www.figma.com/community/file/1198749693280469639"], LISA_WISCHOFSKY),
            Self::Micah => (
                CcBy,
                [
                    "Avatar Illustration System",
                    "https://www.figma.com/community/file/829741575478342595",
                ],
                ["Micah Lanier", "https://dribbble.com/micahlanier"],
            ),
            Self::Miniavs => (
                CcBy,
                [
                    "Miniavs - Free Avatar Creator",
                    "https://www.figma.com/community/file/923211396597067458",
                ],
                ["Webpixels", "https://webpixels.io/"],
            ),
            Self::Notionists => (Cc0, ["Notionists", "https://heyzoish.gumroad.com/l/notionists"], ["Zoish", "https://bio.link/heyzoish"]),
            Self::OpenPeeps => (Cc0, ["Open Peeps", "https://www.openpeeps.com/"], ["Pablo Stanley", "https://twitter.com/pablostanley"]),
            Self::Personas => (
                CcBy,
                ["Personas by Draftbit", "https://personas.draftbit.com/"],
                ["Draftbit - draftbit.com", "https://draftbit.com/"],
            ),
            Self::PixelArt => (Cc0, ["Pixel Art", "https://www.figma.com/community/file/1198754108850888330"], DICEBEAR),
            Self::Thumbs => (Cc0, ["Thumbs", "https://www.dicebear.com"], DICEBEAR),
            Self::ToonHead => (
                CcBy,
                ["ToonHead", "https://www.figma.com/community/file/1589627891082866389"],
                ["Johan Melin", "https://www.johanmelin.com"],
            ),
        };
        Credit { source, designer, licence }
    }
}

const DICEBEAR: [&str; 2] = ["DiceBear", "https://www.dicebear.com"];
const LISA_WISCHOFSKY: [&str; 2] = ["Lisa Wischofsky", "https://www.instagram.com/lischi_art/"];

impl fmt::Display for Style {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Licence {
    /// Name and address.
    pub const fn words(self) -> [&'static str; 2] {
        match self {
            Self::Cc0 => ["CC0 1.0", "https://creativecommons.org/publicdomain/zero/1.0/"],
            Self::CcBy => ["CC BY 4.0", "https://creativecommons.org/licenses/by/4.0/"],
        }
    }
}

impl Credit {
    /// The lines about the design in the package's own licence.
    pub fn lines(&self) -> [String; 3] {
        let line = |what: &str, [words, address]: [&str; 2]| format!("{what}: {words} ({address})");
        [
            line("Source", self.source),
            line("Designer", self.designer),
            line("License", self.licence.words()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_are_named_and_credited() {
        for style in Style::value_variants() {
            let value = style.to_possible_value().unwrap();
            assert_eq!(value.get_name(), style.as_str());
            let credit = style.credit();
            // What the help shows is the credit in short.
            let help = value.get_help().unwrap().to_string();
            let designer = credit.designer[0].split(" - ").next().unwrap();
            assert_eq!(help, format!("By {designer}, {}", credit.licence.words()[0]));
            assert!(
                [credit.source, credit.designer]
                    .iter()
                    .all(|[words, address]| !words.is_empty() && address.starts_with("http"))
            );
        }
        assert_eq!(Style::USUAL.iter().filter(|style| style.is_free()).count(), 5);
        assert!(Style::USUAL.is_sorted_by_key(|style| style.as_str()));
        assert_eq!(
            Style::Lorelei.credit().lines(),
            [
                "Source: Lorelei (https://www.figma.com/community/file/1198749693280469639)",
                "Designer: Lisa Wischofsky (https://www.instagram.com/lischi_art/)",
                "License: CC0 1.0 (https://creativecommons.org/publicdomain/zero/1.0/)",
            ]
        );
    }
}
