//! The checker of surfaces, on small crates: it must find each way a name gets out, and must let
//! alone what stays inside.

use std::collections::BTreeSet;

use crate::surface::{Surface, surface};

fn check(files: &[(&str, &str)]) -> Surface {
    let read = |file: &str| {
        files.iter().find(|(name, _)| *name == file).map(|(_, text)| (*text).to_owned())
    };
    let forbidden = ["ractor", "below::internal"].map(str::to_owned);
    surface("sample", &read, &BTreeSet::from(forbidden))
}

#[test]
fn a_foreign_type_is_found_however_it_gets_out() {
    let cases = [
        ("a function", "pub fn f() -> ractor::ActorRef<u8> { todo() }"),
        ("an absolute path", "pub fn f(_: ::ractor::ActorRef<u8>) {}"),
        ("a renamed import", "use ractor::ActorRef as Address; pub fn f() -> Address<u8> { x() }"),
        ("a renamed crate", "use ractor as r; pub fn f(_: r::ActorId) {}"),
        ("an extern crate", "extern crate ractor as r; pub fn f(_: r::ActorId) {}"),
        ("nested braces", "use ractor::{a::{self, B as C}}; pub fn f(_: a::D, _: C) {}"),
        ("a type argument", "use ractor::ActorId; pub fn f() -> Option<Vec<ActorId>> { None }"),
        ("a bound", "pub fn f<T: ractor::Actor>(_: T) {}"),
        ("a where clause", "pub struct S<T>(T) where T: ractor::Actor;"),
        ("impl Trait", "pub fn f(_: impl Into<ractor::ActorId>) {}"),
        ("dyn Trait", "pub fn f(_: Box<dyn Fn(ractor::ActorId)>) {}"),
        ("a public field", "pub struct S { pub id: ractor::ActorId }"),
        ("a tuple field", "pub struct S(u8, pub ractor::ActorId);"),
        ("a variant", "pub enum E { A, B { id: ractor::ActorId } }"),
        ("a trait method", "pub trait T { fn f(&self) -> ractor::ActorId; }"),
        ("a supertrait", "pub trait T: ractor::Message {}"),
        ("an associated bound", "pub trait T { type A: ractor::Actor; }"),
        ("a type alias", "pub type A = ractor::ActorId;"),
        ("a private alias", "type A = ractor::ActorId; pub fn f(_: A) {}"),
        ("a constant", "pub const C: Option<ractor::ActorId> = None;"),
        ("a static", "pub static S: Option<ractor::ActorId> = None;"),
        ("a re-export", "pub use ractor::ActorRef;"),
        ("a renamed re-export", "pub use ractor::{ActorRef as Address};"),
        ("a glob re-export", "pub use ractor::*;"),
        ("a crate re-export", "pub use ractor;"),
        ("a public extern crate", "pub extern crate ractor;"),
        ("a method", "pub struct S; impl S { pub fn f(&self) -> ractor::ActorId { x() } }"),
        ("a trait impl", "pub struct S; impl ractor::Actor for S {}"),
        ("a conversion", "pub struct S; impl From<ractor::SpawnErr> for S { }"),
        ("an associated type", "pub struct S; impl X for S { type A = ractor::ActorId; }"),
        ("a derive", "use ractor::RactorMessage; #[derive(Debug, RactorMessage)] pub enum E { A }"),
        ("a feature", "#[cfg(feature = \"testing\")] pub fn f(_: ractor::ActorId) {}"),
        ("tests or a feature", "#[cfg(any(test, feature = \"x\"))] pub fn f(_: ractor::A) {}"),
        ("a glob import", "use ractor::*; fn f(_: ActorId) {}"),
        ("a macro that makes items", "use ractor::ActorId; make! { pub fn f(_: ActorId) {} }"),
        ("an exported macro", "#[macro_export] macro_rules! m { () => { ractor::call() } }"),
        ("an inline module", "pub mod a { use ractor::ActorId as Id; pub fn f(_: Id) {} }"),
        ("a private module", "mod a { pub fn f(_: ractor::ActorId) {} } pub use a::f as g;"),
        ("a chain of imports", "mod a { pub use ractor::A; } use a::A as B; pub fn f(_: B) {}"),
        ("a glob of one's own", "mod a { pub use ractor::A; } pub use a::*;"),
        ("super", "use ractor::A; pub mod a { pub mod b { pub fn f(_: super::super::A) {} } }"),
        ("a hidden part of a crate below", "pub fn f(_: below::internal::Link) {}"),
        (
            "a type that only a signature leads to",
            "mod a { pub struct S { pub id: ractor::A } } pub fn f() -> a::S { x() }",
        ),
    ];
    for (what, source) in cases {
        let found = check(&[("lib.rs", source)]);
        assert!(!found.violations.is_empty(), "not found through {what}: {source}");
    }
}

#[test]
fn what_stays_inside_is_let_alone() {
    let cases = [
        ("a private function", "use ractor::ActorRef as A; fn f() -> A<u8> { x() }"),
        ("a function of the crate", "pub(crate) fn f(_: ractor::ActorId) {}"),
        ("a body", "pub fn f() { let _: ractor::ActorId = x(); }"),
        ("a private field", "pub struct S { id: ractor::ActorId, pub n: u8 }"),
        ("a field of the crate", "pub struct S(pub(crate) ractor::ActorId);"),
        ("a private method", "pub struct S; impl S { fn f(_: ractor::A) {} }"),
        ("an actor that is not exported", "mod a { pub struct S; impl ractor::Actor for S {} }"),
        (
            "an actor beside what is exported",
            "mod a { pub struct S; impl ractor::Actor for S { type Msg = ractor::A; } pub fn f() {} }
             pub use a::f;",
        ),
        (
            "a conversion from a private error",
            "struct P(ractor::SpawnErr); impl P { pub fn f(_: ractor::A) {} }
             pub struct S; impl From<P> for S { fn from(p: P) -> S { x() } }",
        ),
        ("a private module", "mod a { pub fn f(_: ractor::ActorId) {} pub fn g() {} } pub use a::g;"),
        ("tests", "#[cfg(test)] pub mod tests { use ractor::*; pub fn f(_: ActorId) {} }"),
        ("tests of one platform", "#[cfg(all(unix, test))] pub fn f(_: ractor::ActorId) {}"),
        ("a hidden function", "#[doc(hidden)] pub fn f(_: ractor::ActorId) {}"),
        ("a hidden method", "pub struct S; impl S { #[doc(hidden)] pub fn f(_: ractor::A) {} }"),
        ("a name that only begins alike", "pub fn f(_: ractor_like::ActorId) {}"),
        ("a name of one's own", "mod ractor { pub struct A; } pub fn f(_: ractor::A) {}"),
        ("a private macro", "macro_rules! m { () => { ractor::call() } }"),
        ("the open part of a crate below", "pub use below::{Link, open::internal};"),
        ("a prelude of itself", "pub struct S; pub mod prelude { pub use crate::*; }"),
    ];
    for (what, source) in cases {
        let found = check(&[("lib.rs", source)]);
        assert!(found.violations.is_empty(), "found in {what}: {:#?}", found.violations);
    }
}

#[test]
fn modules_are_found_in_their_files() {
    let found = check(&[
        ("lib.rs", "mod a; pub mod b; #[path = \"odd/place.rs\"] pub mod c; #[cfg(test)] mod t;"),
        ("a.rs", "pub fn unreached(_: ractor::A) {}"),
        ("b/mod.rs", "mod inner; pub use self::inner::Shown as Seen; pub mod deep;"),
        ("b/inner.rs", "pub struct Shown { pub id: ractor::B }"),
        ("b/deep.rs", "pub fn f(_: ractor::C) {}"),
        ("odd/place.rs", "pub fn g(_: ractor::D) {}"),
    ]);
    let expected = [
        "b/deep.rs: `f` names ractor::C",
        "b/inner.rs: `Shown`.id names ractor::B",
        "odd/place.rs: `g` names ractor::D",
    ];
    assert_eq!(found.violations, expected);
    let public = ["sample::b", "sample::b::Seen", "sample::b::deep", "sample::b::deep::f"];
    assert!(public.iter().all(|path| found.public.contains(*path)), "{:#?}", found.public);
}

#[test]
fn what_cannot_be_judged_is_reported() {
    let missing = check(&[("lib.rs", "mod gone;")]);
    assert_eq!(missing.violations, ["lib.rs: no file for `mod gone`"]);
    let broken = check(&[("lib.rs", "mod bad;"), ("bad.rs", "pub fn {")]);
    assert!(broken.violations[0].starts_with("bad.rs: is no Rust source"), "{broken:?}");
}

#[test]
fn hidden_items_are_listed_for_the_crates_above() {
    let found = check(&[(
        "lib.rs",
        "#[doc(hidden)] pub mod internal { pub struct Link(pub ractor::A); }
         mod a { #[doc(hidden)] pub struct B; } pub use a::B as C;",
    )]);
    assert!(found.violations.is_empty(), "{:#?}", found.violations);
    let hidden = ["sample::C", "sample::internal"].map(str::to_owned);
    assert_eq!(found.hidden, BTreeSet::from(hidden));
}
