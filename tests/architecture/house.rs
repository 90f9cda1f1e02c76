//! Rules for the shape of the code: no files import each other in a loop, no file or function is too long, and no two
//! types have the same name in TypeScript.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use rewardscope_tests::root;

const MOST_FILE_LINES: usize = 600;
const MOST_FUNCTION_LINES: usize = 80;

/// Files that may be longer, each with the reason.
const LONG_FILES: [(&str, &str); 0] = [];

/// Functions that may be longer, each with the reason.
const LONG_FUNCTIONS: [(&str, &str); 0] = [];

/// Folders whose functions may have any length: a kernel is easiest to read in one piece, and so is a test.
const UNBOUNDED: [&str; 3] = ["crates/kernels/src/gpu/", "crates/kernels/src/cpu/", "tests/"];

fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !["target", "node_modules", "dist", "wasm", "fixtures", "corpus"].contains(&name.as_str()) {
            found.extend(files(&path, endings));
        } else if endings.iter().any(|ending| name.ends_with(ending)) && !name.ends_with(".d.ts") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string().replace('\\', "/")
}

/// The path and text of every file of this project with one of these endings.
fn ours(endings: &[&str]) -> Vec<(String, String)> {
    let folders = ["crates", "xtask", "tests", "fuzz", "www"].map(|name| root().join(name));
    let paths = folders.iter().flat_map(|folder| files(folder, endings));
    paths.map(|path| (shown(&path), fs::read_to_string(&path).unwrap())).collect()
}

/// A file's text without its unit tests.
fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod ").next().unwrap_or(text)
}

#[test]
fn files_are_short() {
    let endings = [".rs", ".ts", ".svelte", ".mjs", ".py"];
    let long = ours(&endings).into_iter().filter_map(|(name, text)| {
        let lines = text.lines().count();
        let is_known = LONG_FILES.iter().any(|(known, _)| *known == name);
        (lines > MOST_FILE_LINES && !is_known).then(|| format!("{name}: {lines} lines"))
    });
    let long: Vec<String> = long.collect();
    assert!(long.is_empty(), "at most {MOST_FILE_LINES} lines:\n{}", long.join("\n"));
}

/// The names of a file's functions, with their numbers of lines. The file must be formatted by rustfmt.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let mut words = line.trim_start().split([' ', '(', '<']);
        let is_before = |word: &&str| {
            ["pub", "async", "const", "unsafe", "crate)", "super)", "in", "extern", "\"C\""].contains(word)
        };
        let Some("fn") = words.find(|word| !is_before(word)) else { continue };
        let Some(name) = words.next() else { continue };
        let end = format!("{}}}", " ".repeat(indent));
        // A function without a body, or on one line, has no closing brace on a line of its own.
        let has_body = lines[at..].iter().find(|line| line.ends_with('{') || line.ends_with([';', '}']));
        if has_body.is_some_and(|line| line.ends_with('{')) {
            let length = lines[at..].iter().position(|line| *line == end).map_or(0, |last| last + 1);
            found.push((name.to_owned(), length));
        }
    }
    found
}

#[test]
fn functions_are_short() {
    assert_eq!(
        functions("fn a() {\n    b();\n}\n\nimpl C {\n    fn d(\n        e: F,\n    ) {\n    }\n}\n"),
        [("a".to_owned(), 3), ("d".to_owned(), 4)]
    );
    let mut long = Vec::new();
    let mut seen = 0;
    for (name, text) in ours(&[".rs"]) {
        if UNBOUNDED.iter().any(|folder| name.starts_with(folder)) {
            continue;
        }
        for (function, lines) in functions(&text) {
            seen += 1;
            let key = format!("{name}: {function}");
            let is_known = LONG_FUNCTIONS.iter().any(|(known, _)| *known == key);
            if lines > MOST_FUNCTION_LINES && !is_known {
                long.push(format!("{key}, {lines} lines"));
            }
        }
    }
    assert!(seen > 1000, "{seen} functions found");
    assert!(long.is_empty(), "at most {MOST_FUNCTION_LINES} lines:\n{}", long.join("\n"));
}

/// The paths of a `use`, with its braces expanded: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expanded(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((before, inner)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap_or(tree).trim_end_matches("::self").to_owned()];
    };
    let inner = inner.strip_suffix('}').unwrap_or(inner);
    let (mut depth, mut part, mut parts) = (0, String::new(), Vec::new());
    for letter in inner.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(letter);
    }
    parts.push(part);
    let parts = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty());
    parts.flat_map(|part| expanded(part).into_iter().map(|path| format!("{before}{path}"))).collect()
}

/// A file's text without the lines that are comments: a link in a comment imports nothing.
fn code(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

/// A crate's files by module path, and its re-exports.
struct Modules {
    /// Module path to the file's text.
    files: BTreeMap<String, String>,
    /// Re-exported path to the path that it stands for.
    handed_on: BTreeMap<String, String>,
}

impl Modules {
    fn of(source: &Path) -> Self {
        let mut files = BTreeMap::new();
        for path in self::files(source, &[".rs"]) {
            let name = path.strip_prefix(source).unwrap().display().to_string().replace('\\', "/");
            let name = name.trim_end_matches(".rs").trim_end_matches("/mod").replace('/', "::");
            let module = match name.as_str() {
                "lib" | "main" | "mod" => "crate".to_owned(),
                name => format!("crate::{name}"),
            };
            files.insert(module, code(&fs::read_to_string(&path).unwrap()));
        }
        let mut modules = Self { files, handed_on: BTreeMap::new() };
        for (module, text) in &modules.files {
            for (is_public, path) in uses(text) {
                let (path, name) = (modules.absolute(module, &path), path.rsplit("::").next().unwrap().to_owned());
                if is_public {
                    modules.handed_on.insert(format!("{module}::{name}"), path);
                }
            }
        }
        modules
    }

    /// A path that a module uses, from the crate's root.
    fn absolute(&self, module: &str, path: &str) -> String {
        if let Some(rest) = path.strip_prefix("self::") {
            return format!("{module}::{rest}");
        }
        if let Some(rest) = path.strip_prefix("super::") {
            let parent = module.rsplit_once("::").map_or(module, |(parent, _)| parent);
            return self.absolute(parent, rest).replacen("crate::crate::", "crate::", 1);
        }
        let first = path.split("::").next().unwrap_or(path);
        match self.files.contains_key(&format!("{module}::{first}")) && first != "crate" {
            true => format!("{module}::{path}"),
            false if path.starts_with("crate") => path.to_owned(),
            // A type of this module, left over from `super::`.
            false if self.files.contains_key(module) && path.starts_with(char::is_uppercase) => {
                format!("{module}::{path}")
            }
            false => path.to_owned(),
        }
    }

    /// The module that a path leads to, through re-exports.
    fn module_of(&self, path: &str) -> Option<String> {
        let mut path = path.to_owned();
        for _ in 0..8 {
            match self.handed_on.get(&path) {
                Some(further) if further != &path => path = further.clone(),
                _ => break,
            }
        }
        let mut at = path.as_str();
        loop {
            if self.files.contains_key(at) {
                return Some(at.to_owned());
            }
            at = at.rsplit_once("::")?.0;
        }
    }

    /// The modules that each module imports. Imports from a parent module are left out.
    fn imports(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (module, text) in &self.files {
            let text = without_tests(text);
            let private = uses(text).into_iter().filter(|(is_public, _)| !is_public).map(|(_, path)| path);
            let inline = text.match_indices("crate::").filter_map(|(at, _)| {
                let rest = &text[at..];
                let end = rest.find(|letter: char| !letter.is_alphanumeric() && !"_:".contains(letter));
                let path = &rest[..end.unwrap_or(rest.len())];
                // A path that ends with `::` stands before braces in a `use`, which `uses` has read.
                (!path.ends_with(':')).then(|| path.to_owned())
            });
            for path in private.chain(inline) {
                let Some(used) = self.module_of(&self.absolute(module, &path)) else { continue };
                let is_ancestor = module == &used || module.starts_with(&format!("{used}::"));
                if !is_ancestor {
                    edges.entry(module.clone()).or_default().insert(used);
                }
            }
        }
        edges
    }
}

/// The paths that a file uses, each with whether it re-exports the path.
fn uses(text: &str) -> Vec<(bool, String)> {
    let text = without_tests(text);
    let mut found = Vec::new();
    for (at, _) in text.match_indices("use ") {
        let line = text[..at].rsplit('\n').next().unwrap_or_default();
        let is_public = line.starts_with("pub");
        if line.is_empty() || line == "pub " || line == "pub(crate) " {
            let tree = text[at + 4..].split(';').next().unwrap_or_default();
            found.extend(expanded(tree).into_iter().map(|path| (is_public, path)));
        }
    }
    found
}

/// A path of imports from a name back to itself, if there is one.
fn circle(edges: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn walk<'a>(
        at: &'a str,
        edges: &'a BTreeMap<String, BTreeSet<String>>,
        way: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<String>> {
        if let Some(from) = way.iter().position(|name| *name == at) {
            return Some(way[from..].iter().chain([&at]).map(|name| (*name).to_owned()).collect());
        }
        if !done.insert(at) {
            return None;
        }
        way.push(at);
        let found = edges.get(at).into_iter().flatten().find_map(|next| walk(next, edges, way, done));
        way.pop();
        found
    }
    let mut done = BTreeSet::new();
    edges.keys().find_map(|name| walk(name, edges, &mut Vec::new(), &mut done))
}

#[test]
fn no_files_import_each_other_in_a_loop() {
    let edges = |pairs: &[(&str, &str)]| {
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in pairs {
            edges.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        edges
    };
    assert_eq!(
        circle(&edges(&[("a", "b"), ("b", "c"), ("c", "b")])),
        Some(["b", "c", "b"].map(str::to_owned).to_vec())
    );
    assert_eq!(circle(&edges(&[("a", "b"), ("a", "c"), ("b", "c")])), None);
    let mut seen = 0;
    for folder in fs::read_dir(root().join("crates")).unwrap() {
        let source = folder.unwrap().path().join("src");
        let imports = Modules::of(&source).imports();
        seen += imports.values().map(BTreeSet::len).sum::<usize>();
        let circle = circle(&imports);
        assert!(circle.is_none(), "{}: {}", shown(&source), circle.unwrap().join(" uses "));
    }
    assert!(seen > 300, "{seen} imports were seen");
}

#[test]
fn no_file_of_the_page_imports_itself_through_others() {
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let source = root().join("www/src");
    for path in files(&source, &[".ts", ".svelte"]) {
        let text = fs::read_to_string(&path).unwrap();
        for (at, before) in text.match_indices("from \"") {
            let name = text[at + before.len()..].split('"').next().unwrap_or_default();
            if !name.starts_with('.') || name.contains("/wasm/") || name.ends_with("?url") {
                continue;
            }
            let target = path.parent().unwrap().join(name);
            let tried = ["", ".ts", ".svelte.ts"].map(|ending| PathBuf::from(format!("{}{ending}", target.display())));
            let found = tried.iter().find(|path| path.is_file());
            let found = found.unwrap_or_else(|| panic!("{} imports {name}, which is not there", shown(&path)));
            edges.entry(shown(&path)).or_default().insert(shown(&found.canonicalize().unwrap()));
        }
    }
    let edges: BTreeMap<String, BTreeSet<String>> =
        edges.into_iter().map(|(from, to)| (shown(&root().join(from).canonicalize().unwrap()), to)).collect();
    assert!(edges.values().map(BTreeSet::len).sum::<usize>() > 80, "{edges:?}");
    let circle = circle(&edges);
    assert!(circle.is_none(), "{}", circle.unwrap().join(" imports "));
}

#[test]
fn typescript_gets_each_name_once() {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for (name, text) in ours(&[".rs"]) {
        for (at, _) in text.match_indices("tsify::Tsify)") {
            let rest = &text[at..];
            let declared =
                ["pub struct ", "pub enum "].iter().filter_map(|kind| Some(rest.find(kind)? + kind.len())).min();
            let Some(start) = declared else { continue };
            let end = rest[start..].find(|letter: char| !letter.is_alphanumeric()).unwrap();
            let declared = rest[start..start + end].to_owned();
            let other = seen.insert(declared.clone(), name.clone());
            assert!(other.is_none(), "{declared} is declared in {name} and in {}", other.unwrap());
        }
    }
    assert!(seen.len() > 50, "{}", seen.len());
}
