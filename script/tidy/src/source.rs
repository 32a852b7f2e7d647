//! What rules need to know of one Rust file: modules, definitions, what is imported and named, and where.
//!
//! What only tests have (`#[cfg(test)]`, `#[test]`) is left out: tests may know everything.

use std::collections::BTreeSet;

use proc_macro2::{Spacing, TokenStream, TokenTree};
use syn::{
    Attribute, Item, Meta, UseTree, Visibility,
    visit::{self, Visit},
};

/// One file, read.
#[derive(Debug, Default)]
pub struct Source {
    /// What it declares, in the order of the text.
    pub mods: Vec<Mod>,
    /// What it brings into scope, each name of a list by itself.
    pub uses: Vec<Use>,
    /// What is named by a path of two segments and more, in code and in arguments of macros and attributes.
    pub paths: Vec<Named>,
    /// What it defines.
    pub defs: Vec<Definition>,
}

/// The modules written inside the file around something, outermost first.
pub type Scope = Vec<String>;

/// `mod name;` or `mod name { … }`.
#[derive(Debug)]
pub struct Mod {
    /// Where it stands.
    pub scope: Scope,
    /// Its name.
    pub name: String,
    /// What `#[path = "…"]` says.
    pub path: Option<String>,
    /// Whether its text follows here.
    pub inline: bool,
    /// Whether it is there for tests alone.
    pub test: bool,
}

/// One name that a `use` brings in.
#[derive(Debug)]
pub struct Use {
    /// Where it stands.
    pub scope: Scope,
    /// What is imported; for `a::*`, `a`.
    pub path: Vec<String>,
    /// The name that it has here; none for `a::*` and `a as _`.
    pub name: Option<String>,
    /// Whether it is `a::*`.
    pub glob: bool,
    /// Its line.
    pub line: usize,
}

/// A path in code.
#[derive(Debug)]
pub struct Named {
    /// Where it stands.
    pub scope: Scope,
    /// Its segments, without generic arguments.
    pub path: Vec<String>,
    /// Its line.
    pub line: usize,
}

/// Something that a module defines, or a function of a type.
#[derive(Debug)]
pub struct Definition {
    /// Where it stands.
    pub scope: Scope,
    /// Its name.
    pub name: String,
    /// Whether paths from other modules find it by its name: a function of a type they don't.
    pub named: bool,
    /// Its line.
    pub line: usize,
}

impl Source {
    /// Reads a text.
    ///
    /// # Panics
    ///
    /// Where it is not Rust.
    pub fn read(path: &str, text: &str) -> Source {
        let file = syn::parse_file(text).unwrap_or_else(|error| {
            let line = error.span().start().line;
            panic!("{path}:{line}: {error}")
        });
        let mut reader = Reader { found: Source::default(), scope: Vec::new() };
        for item in &file.items {
            reader.visit_item(item);
        }
        reader.found
    }
}

struct Reader {
    found: Source,
    scope: Scope,
}

impl Reader {
    fn define(&mut self, name: &syn::Ident, named: bool) {
        self.found.defs.push(Definition {
            scope: self.scope.clone(),
            name: name.to_string(),
            named,
            line: name.span().start().line,
        });
    }

    fn name(&mut self, path: Vec<String>, line: usize) {
        if path.len() > 1 {
            self.found.paths.push(Named { scope: self.scope.clone(), path, line });
        }
    }

    /// Each name of a `use`, the segments before it in `base`, the last of which stands in `line`.
    fn import(&mut self, tree: &UseTree, base: &[String], line: usize) {
        let line = match tree {
            UseTree::Path(path) => path.ident.span().start().line,
            UseTree::Name(name) => name.ident.span().start().line,
            UseTree::Rename(rename) => rename.ident.span().start().line,
            UseTree::Glob(_) | UseTree::Group(_) => line,
        };
        let below = |name: &syn::Ident| [base, &[name.to_string()]].concat();
        let (path, name, glob) = match tree {
            UseTree::Path(path) => return self.import(&path.tree, &below(&path.ident), line),
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.import(tree, base, line));
                return;
            }
            UseTree::Glob(_) => (base.to_vec(), None, true),
            UseTree::Name(name) if name.ident == "self" => {
                (base.to_vec(), base.last().cloned(), false)
            }
            UseTree::Name(name) => (below(&name.ident), Some(name.ident.to_string()), false),
            UseTree::Rename(rename) => {
                let path =
                    if rename.ident == "self" { base.to_vec() } else { below(&rename.ident) };
                let name = (rename.rename != "_").then(|| rename.rename.to_string());
                (path, name, false)
            }
        };
        self.found.uses.push(Use { scope: self.scope.clone(), path, name, glob, line });
    }

    /// Paths among tokens that nobody parses: a macro's arguments.
    fn scan(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut line = 0;
        // How many colons follow the last segment.
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.name(std::mem::take(&mut path), line);
                        line = ident.span().start().line;
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct)
                    if punct.as_char() == ':'
                        && !path.is_empty()
                        && (colons == 1 || punct.spacing() == Spacing::Joint) =>
                {
                    colons += 1;
                }
                other => {
                    self.name(std::mem::take(&mut path), line);
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.scan(group.stream());
                    }
                }
            }
        }
        self.name(path, line);
    }
}

/// Whether something is compiled for tests alone.
fn for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::Path(path) => path.segments.last().is_some_and(|last| last.ident == "test"),
        Meta::List(list) if list.path.is_ident("cfg") => asks_for_tests(list.tokens.clone()),
        _ => false,
    })
}

/// Whether a condition of `cfg` holds in tests alone: `test`, or `all(…)` with such a one in it.
fn asks_for_tests(condition: TokenStream) -> bool {
    let mut all = false;
    condition.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => {
            all = ident == "all";
            ident == "test"
        }
        TokenTree::Group(group) => all && asks_for_tests(group.stream()),
        _ => false,
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
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

impl<'a> Visit<'a> for Reader {
    fn visit_item(&mut self, item: &'a Item) {
        let test = for_tests(attributes(item));
        if let Item::Mod(item) = item {
            let path = item.attrs.iter().find_map(|attribute| match &attribute.meta {
                Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
                    syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(path), .. }) => {
                        Some(path.value())
                    }
                    _ => None,
                },
                _ => None,
            });
            self.found.mods.push(Mod {
                scope: self.scope.clone(),
                name: item.ident.to_string(),
                path,
                inline: item.content.is_some(),
                test,
            });
            if let (false, Some((_, items))) = (test, &item.content) {
                self.scope.push(item.ident.to_string());
                items.iter().for_each(|item| self.visit_item(item));
                self.scope.pop();
            }
            return;
        }
        if test {
            return;
        }
        match item {
            Item::Const(item) => self.define(&item.ident, true),
            Item::Enum(item) => self.define(&item.ident, true),
            Item::Fn(item) => self.define(&item.sig.ident, true),
            Item::Static(item) => self.define(&item.ident, true),
            Item::Struct(item) => self.define(&item.ident, true),
            Item::Trait(item) => self.define(&item.ident, true),
            Item::Type(item) => self.define(&item.ident, true),
            Item::Union(item) => self.define(&item.ident, true),
            Item::Macro(item) => {
                if let Some(name) = &item.ident {
                    self.define(name, true);
                }
            }
            Item::ExternCrate(item) => {
                let name = item.rename.as_ref().map_or(&item.ident, |(_, name)| name);
                self.found.uses.push(Use {
                    scope: self.scope.clone(),
                    path: vec![item.ident.to_string()],
                    name: Some(name.to_string()),
                    glob: false,
                    line: item.ident.span().start().line,
                });
            }
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        self.import(&item.tree, &[], item.use_token.span.start().line);
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        if !for_tests(&item.attrs) {
            self.define(&item.sig.ident, false);
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'a syn::TraitItemFn) {
        self.define(&item.sig.ident, false);
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_variant(&mut self, variant: &'a syn::Variant) {
        self.define(&variant.ident, false);
        visit::visit_variant(self, variant);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let first = path.segments.first().map(|first| first.ident.span().start().line);
        self.name(segments, first.unwrap_or_default());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'a syn::Macro) {
        self.visit_path(&called.path);
        self.scan(called.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'a Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.scan(list.tokens.clone());
        }
    }

    // `pub(in a::b)` names a place and takes nothing from it.
    fn visit_visibility(&mut self, _: &'a Visibility) {}
}

/// The modules that are written in a file, by where they stand in it; the file itself first.
pub fn scopes(source: &Source) -> BTreeSet<Scope> {
    let inline = source.mods.iter().filter(|module| module.inline && !module.test);
    let mut scopes: BTreeSet<Scope> =
        inline.map(|module| within(&module.scope, &module.name)).collect();
    scopes.insert(Scope::new());
    scopes
}

/// The scope of a module that stands in another.
pub fn within(scope: &[String], name: &str) -> Scope {
    scope.iter().cloned().chain([name.to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::Source;

    fn imported(text: &str) -> Vec<String> {
        let source = Source::read("a.rs", text);
        let written = |path: &[String], glob| path.join("::") + if glob { "::*" } else { "" };
        let uses = source.uses.iter().map(|used| written(&used.path, used.glob));
        uses.chain(source.paths.iter().map(|named| written(&named.path, false))).collect()
    }

    #[test]
    fn each_name_of_a_list_is_one() {
        let text = "use a::{self, b::{C, D as E}, f::*}; pub use super::g as _;";
        assert_eq!(imported(text), ["a", "a::b::C", "a::b::D", "a::f::*", "super::g"]);
        let source = Source::read("a.rs", text);
        let names: Vec<_> = source.uses.iter().map(|used| used.name.as_deref()).collect();
        assert_eq!(names, [Some("a"), Some("C"), Some("E"), None, None]);
    }

    #[test]
    fn paths_are_found_wherever_they_stand() {
        for (text, path) in [
            ("fn f() { crate::a::b::<u8>(); }", "crate::a::b"),
            ("fn f(x: Vec<super::a::B>) {}", "super::a::B"),
            ("impl<T: a::B> C for T {}", "a::B"),
            ("fn f() { matches!(x, a::B::C(_) if y); }", "a::B::C"),
            ("fn f() { m!(x => { g(a::b(1)) }); }", "a::b"),
            ("fn f() { a::m!(); }", "a::m"),
            ("#[derive(a::B)] struct C;", "a::B"),
            ("const A: u8 = { use a::b; 1 };", "a::b"),
        ] {
            assert!(imported(text).contains(&path.to_owned()), "{text}: {:?}", imported(text));
        }
        for text in [
            "/// [`a::B`]\nfn f() {}",
            "const A: &str = \"a::b\";",
            "// a::b",
            "pub(in crate::a) fn f() {}",
        ] {
            assert_eq!(imported(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn what_only_tests_have_is_left_out() {
        let out = "#[cfg(test)] mod tests { use a::b; }
            #[cfg(all(test, not(madsim)))] use c::d;
            #[test] fn t() { e::f(); }";
        assert_eq!(imported(out), [""; 0]);
        let kept = "#[cfg(not(test))] use a::b; #[cfg(any(test, x))] use c::d;";
        assert_eq!(imported(kept), ["a::b", "c::d"]);
    }

    #[test]
    fn lines_are_those_of_the_text() {
        let source =
            Source::read("a.rs", "\nuse a::{\n    b,\n    c,\n};\nfn f() {\n    d!(\n e::f);\n}");
        let lines: Vec<_> = source.uses.iter().map(|used| used.line).collect();
        assert_eq!((lines, source.paths[0].line), (vec![3, 4], 8));
    }
}
