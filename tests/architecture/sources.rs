//! The sources of one crate: its modules, found as the compiler finds them, and what each path in
//! them leads to. Resolves by name alone, in the namespaces of types, values and macros at once.

use std::collections::BTreeMap;

use syn::punctuated::Punctuated;
use syn::{Attribute, Item, Meta, Token, UseTree};

/// One module: its items, and what each name in it stands for.
pub(crate) struct Module {
    pub(crate) file: String,
    parent: Option<usize>,
    pub(crate) items: Vec<Item>,
    pub(crate) names: BTreeMap<String, Vec<Binding>>,
    pub(crate) globs: Vec<UsePath>,
}

#[derive(Debug, Clone)]
pub(crate) enum Binding {
    Item(usize),
    Module(usize),
    Use(UsePath),
}

/// A flattened branch of a `use`: the path it names, without the name it gives.
#[derive(Debug, Clone)]
pub(crate) struct UsePath {
    pub(crate) segments: Vec<String>,
    /// Begins with `::`, so the first segment is a crate.
    pub(crate) absolute: bool,
}

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Def {
    Module(usize),
    Item(usize, usize),
    /// Outside of the crate, or a name that the sources do not declare, such as a type parameter.
    Foreign(String),
}

#[derive(Default)]
pub(crate) struct Sources {
    pub(crate) modules: Vec<Module>,
    pub(crate) problems: Vec<String>,
}

impl Sources {
    /// Loads the module in `file`; its child modules lie in `folder`.
    pub(crate) fn load_file(
        &mut self,
        file: &str,
        folder: &str,
        parent: Option<usize>,
        read: &dyn Fn(&str) -> Option<String>,
    ) -> Option<usize> {
        match syn::parse_file(&read(file)?) {
            Ok(parsed) if only_for_tests(&parsed.attrs) => None,
            Ok(parsed) => Some(self.load(file, folder, parent, parsed.items, read)),
            Err(error) => {
                self.problems.push(format!("{file}: is no Rust source: {error}"));
                None
            }
        }
    }

    fn load(
        &mut self,
        file: &str,
        folder: &str,
        parent: Option<usize>,
        items: Vec<Item>,
        read: &dyn Fn(&str) -> Option<String>,
    ) -> usize {
        let me = self.modules.len();
        let items: Vec<Item> =
            items.into_iter().filter(|item| !only_for_tests(attrs(item))).collect();
        self.modules.push(Module {
            file: file.to_owned(),
            parent,
            items: items.clone(),
            names: BTreeMap::new(),
            globs: Vec::new(),
        });
        for (place, item) in items.into_iter().enumerate() {
            match item {
                Item::Mod(child) => {
                    let name = plain(&child.ident);
                    let under = format!("{folder}{name}/");
                    let loaded = if let Some((_, items)) = child.content {
                        Some(self.load(file, &under, Some(me), items, read))
                    } else {
                        let candidates = match path_attribute(&child.attrs) {
                            Some(path) => vec![format!("{}{path}", folder_of(file))],
                            None => vec![format!("{folder}{name}.rs"), format!("{under}mod.rs")],
                        };
                        let found = candidates.iter().find(|file| read(file).is_some());
                        if found.is_none() {
                            self.problems.push(format!("{file}: no file for `mod {name}`"));
                        }
                        found.and_then(|found| self.load_file(found, &under, Some(me), read))
                    };
                    if let Some(loaded) = loaded {
                        self.bind(me, name, Binding::Module(loaded));
                    }
                }
                Item::Use(item) => {
                    let absolute = item.leading_colon.is_some();
                    for branch in branches(&item.tree, absolute) {
                        match branch {
                            (Some(name), path) => self.bind(me, name, Binding::Use(path)),
                            (None, path) => self.modules[me].globs.push(path),
                        }
                    }
                }
                Item::ExternCrate(item) => {
                    let name =
                        item.rename.as_ref().map_or(plain(&item.ident), |(_, name)| plain(name));
                    let path = UsePath { segments: vec![plain(&item.ident)], absolute: true };
                    self.bind(me, name, Binding::Use(path));
                }
                item => {
                    if let Some(name) = item_name(&item) {
                        self.bind(me, name, Binding::Item(place));
                    }
                }
            }
        }
        me
    }

    fn bind(&mut self, module: usize, name: String, binding: Binding) {
        self.modules[module].names.entry(name).or_default().push(binding);
    }

    pub(crate) fn resolve(&self, module: usize, path: &UsePath) -> Vec<Def> {
        self.resolve_once(module, path, &mut Vec::new())
    }

    /// `open` holds the names that are being resolved, so that `use ractor;` ends at the crate.
    fn resolve_once(
        &self,
        module: usize,
        path: &UsePath,
        open: &mut Vec<(usize, String)>,
    ) -> Vec<Def> {
        let Some((first, rest)) = path.segments.split_first() else {
            return Vec::new();
        };
        let mut defs = match first.as_str() {
            _ if path.absolute => vec![Def::Foreign(first.clone())],
            "crate" => vec![Def::Module(0)],
            "self" => vec![Def::Module(module)],
            "super" => self.modules[module].parent.map(Def::Module).into_iter().collect(),
            "Self" => return Vec::new(),
            name => {
                let local = self.look_up(module, name, open);
                if local.is_empty() { vec![Def::Foreign(first.clone())] } else { local }
            }
        };
        for segment in rest {
            defs = defs
                .into_iter()
                .flat_map(|def| match def {
                    Def::Module(inner) if segment == "super" => {
                        self.modules[inner].parent.map(Def::Module).into_iter().collect()
                    }
                    Def::Module(inner) => self.look_up(inner, segment, open),
                    // A variant or an associated item: the item stands for it.
                    Def::Item(..) => vec![def],
                    Def::Foreign(path) => vec![Def::Foreign(format!("{path}::{segment}"))],
                })
                .collect();
        }
        defs
    }

    /// What `name` stands for in `module`: in the namespaces of types, values and macros alike.
    fn look_up(&self, module: usize, name: &str, open: &mut Vec<(usize, String)>) -> Vec<Def> {
        let key = (module, name.to_owned());
        if open.contains(&key) {
            return Vec::new();
        }
        open.push(key);
        let scope = &self.modules[module];
        let mut defs = Vec::new();
        for binding in scope.names.get(name).into_iter().flatten() {
            match binding {
                Binding::Item(place) => defs.push(Def::Item(module, *place)),
                Binding::Module(inner) => defs.push(Def::Module(*inner)),
                Binding::Use(path) => defs.extend(self.resolve_once(module, path, open)),
            }
        }
        if defs.is_empty() {
            for glob in &scope.globs {
                for def in self.resolve_once(module, glob, open) {
                    if let Def::Module(inner) = def {
                        defs.extend(self.look_up(inner, name, open));
                    }
                }
            }
        }
        open.pop();
        defs
    }
}

/// The leaves of a `use`: the name that each gives (none for a glob) and the path that it names.
pub(crate) fn branches(tree: &UseTree, absolute: bool) -> Vec<(Option<String>, UsePath)> {
    fn grow(tree: &UseTree, above: &[String], leaves: &mut Vec<(Option<String>, Vec<String>)>) {
        let with = |name: String| above.iter().cloned().chain([name]).collect::<Vec<_>>();
        match tree {
            UseTree::Path(path) => grow(&path.tree, &with(plain(&path.ident)), leaves),
            UseTree::Group(group) => group.items.iter().for_each(|tree| grow(tree, above, leaves)),
            UseTree::Glob(_) => leaves.push((None, above.to_vec())),
            UseTree::Name(name) if name.ident == "self" => {
                leaves.push((above.last().cloned(), above.to_vec()));
            }
            UseTree::Name(name) => {
                leaves.push((Some(plain(&name.ident)), with(plain(&name.ident))));
            }
            UseTree::Rename(name) => {
                let path =
                    if name.ident == "self" { above.to_vec() } else { with(plain(&name.ident)) };
                leaves.push((Some(plain(&name.rename)), path));
            }
        }
    }
    let mut leaves = Vec::new();
    grow(tree, &[], &mut leaves);
    leaves.into_iter().map(|(name, segments)| (name, UsePath { segments, absolute })).collect()
}

pub(crate) fn plain(ident: &syn::Ident) -> String {
    ident.to_string().trim_start_matches("r#").to_owned()
}

fn folder_of(file: &str) -> &str {
    file.rfind('/').map_or("", |slash| &file[..=slash])
}

pub(crate) fn item_name(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(plain(ident))
}

pub(crate) fn attrs(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn path_attribute(attrs: &[Attribute]) -> Option<String> {
    attrs.iter().find_map(|attr| match &attr.meta {
        Meta::NameValue(meta) if meta.path.is_ident("path") => match &meta.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(path), .. }) => Some(path.value()),
            _ => None,
        },
        _ => None,
    })
}

pub(crate) fn only_for_tests(attrs: &[Attribute]) -> bool {
    let cfgs = attrs.iter().filter(|attr| attr.path().is_ident("cfg"));
    cfgs.filter_map(|attr| attr.parse_args::<Meta>().ok()).any(|cfg| holds(&cfg) == Some(false))
}

/// Whether a `cfg` holds outside of tests; none if that hangs on features or the platform.
fn holds(cfg: &Meta) -> Option<bool> {
    if cfg.path().is_ident("test") {
        return Some(false);
    }
    let Meta::List(list) = cfg else { return None };
    let inner = Punctuated::<Meta, Token![,]>::parse_terminated;
    let inner: Vec<_> = list.parse_args_with(inner).ok()?.iter().map(holds).collect();
    if list.path.is_ident("not") {
        return inner.first().copied().flatten().map(|holds| !holds);
    }
    let decides = list.path.is_ident("any");
    if inner.contains(&Some(decides)) {
        Some(decides)
    } else if inner.contains(&None) {
        None
    } else {
        Some(!decides)
    }
}
