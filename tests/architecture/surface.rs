//! What a crate shows to its users, read from its sources, and which foreign types stand in it.
//!
//! Starts at the `pub` items of `lib.rs` and follows what a user can reach: `pub` modules, `pub use`
//! (braces, renames, globs), and every type that a reached signature names, also through a private
//! alias. A `pub` item in a private module that nothing leads to is not part of the surface. Of
//! what is reached it reads signatures, public fields, variants, trait items, the public items of
//! inherent impls, and of trait impls the trait, its arguments and its associated types.
//!
//! Left out: what is compiled for tests only, and what is `#[doc(hidden)]`, which Rust's own
//! convention takes out of the public API; [`Surface::hidden`] lists those paths, so that the
//! crates above can be held not to pass them on.
//!
//! It reads syntax, not types. So it refuses what would hide a name from it: a glob import from a
//! forbidden crate, and a forbidden name in a macro that stands where items do. A forbidden type
//! that comes in as an associated type of somebody else's trait, or out of a macro of another
//! crate, is not seen.

use std::collections::{BTreeSet, HashSet};

use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, Meta, Token, TraitItem, Visibility};

use crate::sources::{
    Binding, Def, Sources, UsePath, attrs, branches, item_name, only_for_tests, plain,
};

/// How long a public path is followed.
const PATH_SEGMENTS_MAX: usize = 8;

/// What was found out about one crate.
#[derive(Debug, Default)]
pub(crate) struct Surface {
    /// One line for each place where the surface names a forbidden crate, and for each thing that
    /// the reader of sources cannot judge.
    pub(crate) violations: Vec<String>,
    /// The paths of items on the surface, such as `coppicer_messages::ThreadId`.
    pub(crate) public: BTreeSet<String>,
    /// The paths of `#[doc(hidden)]` items that would be on the surface.
    pub(crate) hidden: BTreeSet<String>,
}

/// Reads the crate `name` from `lib.rs` on and checks its surface.
///
/// `read` gives the text of a file by its path under the crate's `src`. `forbidden` are paths whose
/// beginning must not stand in a signature: crates (`ractor`) or items (`other::internal`).
pub(crate) fn surface(
    name: &str,
    read: &dyn Fn(&str) -> Option<String>,
    forbidden: &BTreeSet<String>,
) -> Surface {
    let mut sources = Sources::default();
    sources.load_file("lib.rs", "", None, read);
    let mut walk = Walk {
        sources: &sources,
        forbidden,
        surface: Surface { violations: sources.problems.clone(), ..Surface::default() },
        reached: HashSet::new(),
        queue: Vec::new(),
        walked: HashSet::new(),
    };
    walk.refuse_what_hides_names();
    walk.public_items(0, name);
    walk.follow();
    let mut surface = walk.surface;
    surface.violations.sort();
    surface.violations.dedup();
    surface
}

struct Walk<'a> {
    sources: &'a Sources,
    forbidden: &'a BTreeSet<String>,
    surface: Surface,
    reached: HashSet<(usize, usize)>,
    queue: Vec<(usize, usize)>,
    walked: HashSet<(usize, String)>,
}

impl<'a> Walk<'a> {
    fn refuse_what_hides_names(&mut self) {
        for (module, scope) in self.sources.modules.iter().enumerate() {
            for glob in &scope.globs {
                for def in self.sources.resolve(module, glob) {
                    self.judge(module, "a glob import", &[def]);
                }
            }
            for item in &scope.items {
                let Item::Macro(item) = item else { continue };
                let private_rules = item.ident.is_some() && !has(&item.attrs, "macro_export");
                if !private_rules {
                    self.named(module, "a macro among items", |names| {
                        names.visit_macro(&item.mac);
                    });
                }
            }
        }
    }

    /// Adds the `pub` items of `module`, which users know as `path`.
    fn public_items(&mut self, module: usize, path: &str) {
        // A prelude that re-exports its own crate has paths without end.
        let deep = path.matches("::").count() > PATH_SEGMENTS_MAX;
        if deep || !self.walked.insert((module, path.to_owned())) {
            return;
        }
        let sources = self.sources;
        for (place, item) in sources.modules[module].items.iter().enumerate() {
            match item {
                Item::Use(item) if is_public(&item.vis) => {
                    let hidden = is_hidden(&item.attrs);
                    for (name, branch) in branches(&item.tree, item.leading_colon.is_some()) {
                        for def in sources.resolve(module, &branch) {
                            match (&name, def) {
                                (None, Def::Module(inner)) => self.public_items(inner, path),
                                (None, Def::Item(..)) => {} // the variants of an enum
                                (Some(name), def) => {
                                    self.public_def(
                                        &format!("{path}::{name}"),
                                        def,
                                        hidden,
                                        module,
                                    );
                                }
                                (None, def) => {
                                    self.judge(module, "a public glob re-export", &[def]);
                                }
                            }
                        }
                    }
                }
                Item::Mod(child) if is_public(&child.vis) => {
                    let name = plain(&child.ident);
                    let hidden = is_hidden(&child.attrs);
                    for binding in sources.modules[module].names.get(&name).into_iter().flatten() {
                        if let Binding::Module(inner) = binding {
                            let def = Def::Module(*inner);
                            self.public_def(&format!("{path}::{name}"), def, hidden, module);
                        }
                    }
                }
                Item::ExternCrate(item) if is_public(&item.vis) => {
                    let def = Def::Foreign(plain(&item.ident));
                    self.judge(module, "a public `extern crate`", &[def]);
                }
                item => {
                    if let (Some(name), true) = (item_name(item), public_item(item)) {
                        let def = Def::Item(module, place);
                        self.public_def(&format!("{path}::{name}"), def, false, module);
                    }
                }
            }
        }
    }

    fn public_def(&mut self, path: &str, def: Def, hidden: bool, at: usize) {
        let hidden = hidden
            || match &def {
                Def::Item(module, place) => {
                    is_hidden(attrs(&self.sources.modules[*module].items[*place]))
                }
                Def::Module(_) | Def::Foreign(_) => false,
            };
        if hidden {
            self.surface.hidden.insert(path.to_owned());
            return;
        }
        self.surface.public.insert(path.to_owned());
        match def {
            Def::Module(inner) => self.public_items(inner, path),
            def => self.judge(at, &format!("the re-export of {path}"), &[def]),
        }
    }

    /// Checks all that is reached, until nothing new is.
    fn follow(&mut self) {
        let sources = self.sources;
        let mut impls: Vec<(usize, &syn::ItemImpl)> = Vec::new();
        for (module, scope) in sources.modules.iter().enumerate() {
            impls.extend(scope.items.iter().filter_map(|item| match item {
                Item::Impl(item) => Some((module, item)),
                _ => None,
            }));
        }
        loop {
            while let Some((module, place)) = self.queue.pop() {
                self.item(module, &sources.modules[module].items[place]);
            }
            let (ready, waiting): (Vec<_>, Vec<_>) =
                impls.into_iter().partition(|&(module, item)| self.is_reached(module, item));
            if ready.is_empty() {
                return;
            }
            impls = waiting;
            for (module, item) in ready {
                self.implementation(module, item);
            }
        }
    }

    /// Whether users can see that `item` exists: they know each type and trait in its head.
    fn is_reached(&self, module: usize, item: &syn::ItemImpl) -> bool {
        let mut head = Names { sources: self.sources, module, found: Vec::new() };
        head.visit_type(&item.self_ty);
        if let Some((_, of, _)) = &item.trait_ {
            head.visit_path(of);
        }
        head.found.iter().all(|def| match def {
            Def::Item(module, place) => {
                let alias = matches!(self.sources.modules[*module].items[*place], Item::Type(_));
                alias || self.reached.contains(&(*module, *place))
            }
            Def::Module(_) | Def::Foreign(_) => true,
        })
    }

    fn item(&mut self, module: usize, item: &Item) {
        let what = format!("`{}`", item_name(item).unwrap_or_default());
        for attr in attrs(item).iter().filter(|attr| attr.path().is_ident("derive")) {
            let list = Punctuated::<syn::Path, Token![,]>::parse_terminated;
            for path in attr.parse_args_with(list).into_iter().flatten() {
                self.named(module, &format!("a derive of {what}"), |names| {
                    names.visit_path(&path);
                });
            }
        }
        match item {
            Item::Fn(item) => self.named(module, &what, |names| names.visit_signature(&item.sig)),
            Item::Struct(item) => {
                self.named(module, &what, |names| names.visit_generics(&item.generics));
                self.fields(module, &what, item.fields.iter().filter(|f| is_public(&f.vis)));
            }
            Item::Union(item) => {
                self.named(module, &what, |names| names.visit_generics(&item.generics));
                self.fields(module, &what, item.fields.named.iter().filter(|f| is_public(&f.vis)));
            }
            Item::Enum(item) => {
                self.named(module, &what, |names| names.visit_generics(&item.generics));
                for variant in item.variants.iter().filter(|variant| shown(&variant.attrs)) {
                    let what = format!("{what}::{}", variant.ident);
                    self.fields(module, &what, variant.fields.iter());
                }
            }
            Item::Trait(item) => {
                self.named(module, &what, |names| {
                    names.visit_generics(&item.generics);
                    item.supertraits.iter().for_each(|bound| names.visit_type_param_bound(bound));
                });
                for member in &item.items {
                    self.trait_item(module, &what, member);
                }
            }
            Item::Type(item) => self.named(module, &what, |names| names.visit_item_type(item)),
            Item::Const(item) => self.named(module, &what, |names| names.visit_type(&item.ty)),
            Item::Static(item) => self.named(module, &what, |names| names.visit_type(&item.ty)),
            _ => {}
        }
    }

    fn fields<'f>(
        &mut self,
        module: usize,
        what: &str,
        fields: impl Iterator<Item = &'f syn::Field>,
    ) {
        for (place, field) in fields.enumerate().filter(|(_, field)| shown(&field.attrs)) {
            let name = field.ident.as_ref().map_or(place.to_string(), plain);
            self.named(module, &format!("{what}.{name}"), |names| {
                names.visit_type(&field.ty);
            });
        }
    }

    fn trait_item(&mut self, module: usize, what: &str, item: &TraitItem) {
        match item {
            TraitItem::Fn(item) if shown(&item.attrs) => {
                let what = format!("{what}::{}", item.sig.ident);
                self.named(module, &what, |names| names.visit_signature(&item.sig));
            }
            TraitItem::Type(item) if shown(&item.attrs) => {
                let what = format!("{what}::{}", item.ident);
                self.named(module, &what, |names| names.visit_trait_item_type(item));
            }
            TraitItem::Const(item) if shown(&item.attrs) => {
                let what = format!("{what}::{}", item.ident);
                self.named(module, &what, |names| names.visit_type(&item.ty));
            }
            _ => {}
        }
    }

    fn implementation(&mut self, module: usize, item: &syn::ItemImpl) {
        let of = match &*item.self_ty {
            syn::Type::Path(of) => of.path.segments.last().map(|last| last.ident.to_string()),
            _ => None,
        };
        let what = format!("an impl of `{}`", of.as_deref().unwrap_or("_"));
        self.named(module, &what, |names| {
            names.visit_generics(&item.generics);
            names.visit_type(&item.self_ty);
            if let Some((_, of, _)) = &item.trait_ {
                names.visit_path(of);
            }
        });
        for member in &item.items {
            let public = |vis: &Visibility| item.trait_.is_none() && is_public(vis);
            match member {
                ImplItem::Fn(member) if public(&member.vis) && shown(&member.attrs) => {
                    let what = format!("{what}, `{}`", member.sig.ident);
                    self.named(module, &what, |names| names.visit_signature(&member.sig));
                }
                ImplItem::Const(member) if public(&member.vis) && shown(&member.attrs) => {
                    let what = format!("{what}, `{}`", member.ident);
                    self.named(module, &what, |names| names.visit_type(&member.ty));
                }
                ImplItem::Type(member) if shown(&member.attrs) => {
                    let what = format!("{what}, `{}`", member.ident);
                    self.named(module, &what, |names| names.visit_type(&member.ty));
                }
                _ => {}
            }
        }
    }

    fn named(&mut self, module: usize, what: &str, look: impl FnOnce(&mut Names<'a>)) {
        let mut names = Names { sources: self.sources, module, found: Vec::new() };
        look(&mut names);
        let found = names.found;
        self.judge(module, what, &found);
    }

    /// Reports what is forbidden, and queues what belongs to the crate.
    fn judge(&mut self, module: usize, what: &str, found: &[Def]) {
        for def in found {
            match def {
                Def::Module(_) => {}
                Def::Item(module, place) => {
                    if self.reached.insert((*module, *place)) {
                        self.queue.push((*module, *place));
                    }
                }
                Def::Foreign(path) => {
                    let starts = |prefix: &String| {
                        path.strip_prefix(prefix.as_str())
                            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
                    };
                    if self.forbidden.iter().any(starts) {
                        let file = &self.sources.modules[module].file;
                        self.surface.violations.push(format!("{file}: {what} names {path}"));
                    }
                }
            }
        }
    }
}

/// Collects what the paths in a piece of syntax lead to.
struct Names<'a> {
    sources: &'a Sources,
    module: usize,
    found: Vec<Def>,
}

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter().map(|segment| plain(&segment.ident)).collect();
        let path_of = UsePath { segments, absolute: path.leading_colon.is_some() };
        self.found.extend(self.sources.resolve(self.module, &path_of));
        visit::visit_path(self, path);
    }

    /// Tokens have no structure, so each word is taken for a name. What it leads to in the crate is
    /// not followed: most words of a macro are no paths.
    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        let text = mac.tokens.to_string();
        for word in text.split(|c: char| !c.is_alphanumeric() && c != '_') {
            let path = UsePath { segments: vec![word.to_owned()], absolute: false };
            let defs = self.sources.resolve(self.module, &path);
            self.found.extend(defs.into_iter().filter(|def| matches!(def, Def::Foreign(_))));
        }
    }

    fn visit_attribute(&mut self, _: &'ast Attribute) {}
}

fn public_item(item: &Item) -> bool {
    match item {
        Item::Const(item) => is_public(&item.vis),
        Item::Enum(item) => is_public(&item.vis),
        Item::Fn(item) => is_public(&item.vis),
        Item::Macro(item) => has(&item.attrs, "macro_export"),
        Item::Static(item) => is_public(&item.vis),
        Item::Struct(item) => is_public(&item.vis),
        Item::Trait(item) => is_public(&item.vis),
        Item::TraitAlias(item) => is_public(&item.vis),
        Item::Type(item) => is_public(&item.vis),
        Item::Union(item) => is_public(&item.vis),
        _ => false,
    }
}

fn is_public(vis: &Visibility) -> bool {
    matches!(vis, Visibility::Public(_))
}

fn has(attrs: &[Attribute], name: &str) -> bool {
    attrs.iter().any(|attr| attr.path().is_ident(name))
}

fn shown(attrs: &[Attribute]) -> bool {
    !is_hidden(attrs) && !only_for_tests(attrs)
}

fn is_hidden(attrs: &[Attribute]) -> bool {
    let list = Punctuated::<Meta, Token![,]>::parse_terminated;
    let docs = attrs.iter().filter(|attr| attr.path().is_ident("doc"));
    let mut said = docs.filter_map(|attr| attr.parse_args_with(list).ok()).flatten();
    said.any(|meta| meta.path().is_ident("hidden"))
}
