//! The rules of the house that a compiler does not check: which way dependencies point, whose types
//! stand in public signatures, how long a file may get, and what may not be left in one.

mod sources;
mod surface;
mod surface_tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};
use syn::visit::{self, Visit};

use crate::surface::surface;

/// The core, lowest first, and the coppicer crates that each may use.
const CORE: [(&str, &[&str]); 4] = [
    ("coppicer-messages", &[]),
    ("coppicer-actors", &["coppicer-messages"]),
    ("coppicer-supervisor", &["coppicer-messages", "coppicer-actors"]),
    (
        "coppicer",
        &[
            "coppicer-messages",
            "coppicer-actors",
            "coppicer-supervisor",
            "coppicer-sqlite",
            "coppicer-console",
        ],
    ),
];

/// The adapters of the facade's features, which it may not need without them, and what each adapts.
const ADAPTERS: [(&str, &[&str]); 2] =
    [("coppicer-sqlite", &["rusqlite"]), ("coppicer-console", &["axum", "hyper"])];

/// What only an adapter may bring in: hosts pin different majors of each.
const ADAPTED: [&str; 8] = [
    "agent-client-protocol",
    "axum",
    "hyper",
    "opentelemetry",
    "reqwest",
    "rmcp",
    "rusqlite",
    "sqlx",
];

/// What the core may use inside, and may not show.
const PRIVATE: [&str; 11] = [
    "bincode",
    "clap",
    "crc32c",
    "dashmap",
    "indicatif",
    "metrics",
    "parking_lot",
    "ractor",
    "ractor_cluster",
    "tokio-util",
    "tracing-opentelemetry",
];

/// The longest source file, in lines: what one head holds and one review reads.
const FILE_LINES_MAX: usize = 600;

#[test]
fn dependencies_point_down() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for (name, allowed) in CORE {
        for dependency in &package(&metadata, name).dependencies {
            let ours = dependency.name.starts_with("coppicer");
            let for_tests = dependency.kind == DependencyKind::Development;
            if ours && !for_tests && !allowed.contains(&dependency.name.as_str()) {
                wrong.push(format!("{name} -> {}", dependency.name));
            }
        }
    }
    assert!(wrong.is_empty(), "these dependencies point the wrong way: {wrong:#?}");
}

#[test]
fn messages_knows_no_actors() {
    let metadata = metadata();
    let below = dependencies_below(&metadata, "coppicer-messages");
    assert!(!below.contains("ractor"), "coppicer-messages is data only, and depends on ractor");
}

#[test]
fn the_core_brings_in_no_adapted_crate() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for (name, _) in CORE {
        let mut below = dependencies_below(&metadata, name);
        if name == "coppicer" {
            for (adapter, adapted) in ADAPTERS {
                let dependency =
                    package(&metadata, name).dependencies.iter().find(|it| it.name == adapter);
                assert!(dependency.is_some_and(|it| it.optional), "{adapter} is not optional");
                below.retain(|it| !adapted.contains(&it.as_str()));
            }
        }
        wrong.extend(ADAPTED.iter().filter(|&&it| below.contains(it)).map(|it| (name, it)));
    }
    assert!(wrong.is_empty(), "these belong to a crate beside the core: {wrong:#?}");
}

#[test]
fn no_public_signature_of_the_core_names_a_foreign_type() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    let mut hidden = BTreeSet::new();
    let adapters = ADAPTERS.map(|(adapter, _)| adapter);
    // Adapters wrap what they adapt: their signatures are ours too.
    for name in CORE.map(|(name, _)| name).into_iter().chain(adapters) {
        let package = package(&metadata, name);
        let mut forbidden = forbidden_in(package);
        forbidden.extend(hidden.iter().cloned());
        let src = folder(package).join("src");
        let read = |file: &str| fs::read_to_string(src.join(file)).ok();
        let found = surface(&name.replace('-', "_"), &read, &forbidden);
        wrong.extend(found.violations.into_iter().map(|line| format!("{name}: {line}")));
        hidden.extend(found.hidden);
    }
    assert!(wrong.is_empty(), "keep these behind types of our own: {wrong:#?}");
}

#[test]
fn the_surface_of_messages_is_seen() {
    let metadata = metadata();
    let src = folder(package(&metadata, "coppicer-messages")).join("src");
    let read = |file: &str| fs::read_to_string(src.join(file)).ok();
    let found = surface("coppicer_messages", &read, &BTreeSet::from(["uuid".to_owned()]));
    assert!(found.public.contains("coppicer_messages::ThreadId"), "{:#?}", found.public);
    let as_uuid = found.violations.iter().any(|line| line.contains("`as_uuid` names uuid::Uuid"));
    assert!(as_uuid, "a known use of a foreign type is not seen: {:#?}", found.violations);
}

#[test]
fn every_file_is_short() {
    let metadata = metadata();
    let mut long = Vec::new();
    for package in metadata.workspace_packages() {
        for file in sources_under(&folder(package).join("src")) {
            let lines = read(&file).lines().count();
            if lines >= FILE_LINES_MAX {
                long.push(format!("{}: {lines} lines", shown(&metadata, &file)));
            }
        }
    }
    assert!(long.is_empty(), "split these, {FILE_LINES_MAX} lines are too many: {long:#?}");
}

#[test]
fn nothing_is_left_undone_or_ignored() {
    let metadata = metadata();
    let mut left = Vec::new();
    for package in metadata.workspace_packages() {
        for part in ["src", "tests", "benches", "examples"] {
            for file in sources_under(&folder(package).join(part)) {
                let text = read(&file);
                let parsed = syn::parse_file(&text)
                    .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
                let mut finder = Unfinished::default();
                finder.visit_file(&parsed);
                let at = shown(&metadata, &file);
                left.extend(finder.found.into_iter().map(|what| format!("{at}: {what}")));
            }
        }
    }
    assert!(left.is_empty(), "finish or remove these: {left:#?}");
}

#[test]
fn what_is_unfinished_is_found() {
    let source = r#"
        /// ```ignore
        /// never(run);
        /// ```
        #[test]
        #[ignore = "slow"]
        fn a() { let later = || std::todo!(); if later() { unimplemented!("b") } }
        #[cfg_attr(miri, ignore)]
        fn b() { done!(); let text = "todo!() and #[ignore]"; }
    "#;
    let mut finder = Unfinished::default();
    finder.visit_file(&syn::parse_file(source).unwrap());
    assert_eq!(
        finder.found,
        ["a doc test that is ignored", "#[ignore]", "todo!", "unimplemented!"],
    );
}

#[test]
fn unsafe_code_is_forbidden_in_every_crate() {
    let metadata = metadata();
    let root = read(metadata.workspace_root.join("Cargo.toml").as_std_path());
    let lints = section(&root, "workspace.lints.rust");
    assert!(lints.contains(&"unsafe_code = \"forbid\""), "the workspace allows unsafe code");
    for package in metadata.workspace_packages() {
        let manifest = read(package.manifest_path.as_std_path());
        let inherits = section(&manifest, "lints").contains(&"workspace = true");
        assert!(inherits, "{} does not take the lints of the workspace", package.name);
    }
}

/// Marks of work that is not done.
#[derive(Default)]
struct Unfinished {
    found: Vec<String>,
}

impl<'ast> Visit<'ast> for Unfinished {
    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        if let Some(name) = mac.path.segments.last().map(|last| last.ident.to_string())
            && ["todo", "unimplemented"].contains(&name.as_str())
        {
            self.found.push(format!("{name}!"));
        }
        visit::visit_macro(self, mac);
    }

    fn visit_attribute(&mut self, attr: &'ast syn::Attribute) {
        if attr.path().is_ident("ignore") {
            self.found.push("#[ignore]".to_owned());
        }
        if let syn::Meta::NameValue(doc) = &attr.meta
            && doc.path.is_ident("doc")
            && let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(line), .. }) = &doc.value
            && line.value().trim().starts_with("```ignore")
        {
            self.found.push("a doc test that is ignored".to_owned());
        }
    }
}

/// The workspace with every feature, for this platform: what others need is not downloaded.
fn metadata() -> Metadata {
    let rustc =
        Command::new("rustc").arg("-vV").output().expect("cargo runs us, so rustc is there");
    let rustc = String::from_utf8(rustc.stdout).expect("rustc writes UTF-8");
    let host =
        rustc.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc has a host");
    MetadataCommand::new()
        .manifest_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .features(cargo_metadata::CargoOpt::AllFeatures)
        .other_options(["--locked", "--filter-platform", host].map(str::to_owned))
        .exec()
        .expect("cargo knows the workspace that it built us from")
}

fn package<'m>(metadata: &'m Metadata, name: &str) -> &'m Package {
    let mut packages = metadata.workspace_packages().into_iter();
    packages.find(|package| package.name == name).expect("the core is in the workspace")
}

fn folder(package: &Package) -> PathBuf {
    let folder = package.manifest_path.parent().expect("a manifest lies in a folder");
    folder.as_std_path().to_owned()
}

/// Names of all packages that `name` needs, itself or through others, outside of tests.
fn dependencies_below(metadata: &Metadata, name: &str) -> BTreeSet<String> {
    let graph = metadata.resolve.as_ref().expect("asked for with dependencies");
    let nodes: BTreeMap<&PackageId, _> = graph.nodes.iter().map(|node| (&node.id, node)).collect();
    let mut below = BTreeSet::new();
    let mut queue = vec![&package(metadata, name).id];
    while let Some(id) = queue.pop() {
        let needed = nodes[id].deps.iter().filter(|dependency| {
            dependency.dep_kinds.iter().any(|kind| kind.kind != DependencyKind::Development)
        });
        queue.extend(needed.map(|needed| &needed.pkg).filter(|&id| below.insert(id)));
    }
    below.into_iter().map(|id| metadata[id].name.to_string()).collect()
}

/// The crates that `package` may not show, by the names it has for them.
fn forbidden_in(package: &Package) -> BTreeSet<String> {
    let forbidden = || ADAPTED.iter().chain(&PRIVATE).copied();
    let renamed = package.dependencies.iter().filter(|it| forbidden().any(|name| it.name == name));
    let renamed = renamed.filter_map(|dependency| dependency.rename.as_deref());
    forbidden().chain(renamed).map(|name| name.replace('-', "_")).collect()
}

fn sources_under(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.expect("a folder of the workspace can be listed").path();
        if path.is_dir() {
            files.extend(sources_under(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn shown(metadata: &Metadata, file: &Path) -> String {
    file.strip_prefix(&metadata.workspace_root).unwrap_or(file).display().to_string()
}

/// The lines of one table of a manifest.
fn section<'t>(manifest: &'t str, name: &str) -> Vec<&'t str> {
    let head = format!("[{name}]");
    let lines = manifest.lines().map(str::trim).skip_while(|&line| line != head).skip(1);
    lines.take_while(|line| !line.starts_with('[')).collect()
}
