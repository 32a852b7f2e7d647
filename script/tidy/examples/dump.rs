use quintet_tidy::{rules, tree::Tree};
fn main() {
    let arg = std::env::args().nth(1).unwrap_or(".".into());
    let tree = &Tree::read(std::path::Path::new(&arg));
    for (from, to, import) in tree.imports().pairs() {
        println!("E {from} {to} {} {}", import.line, import.path);
    }
    let rules: &[(&str, fn(&Tree) -> Vec<quintet_tidy::Offence>)] = &[
        ("circles of files", rules::circles::of_files),
        ("circles of folders", rules::circles::of_folders),
        ("floors", rules::floors::rule),
        ("glossary", rules::glossary::rule),
        ("headers", rules::headers::rule),
        ("links", rules::links::rule),
        ("outside", rules::outside::rule),
        ("randomness", rules::randomness::rule),
        ("scripts", rules::scripts::rule),
        ("size", rules::size::rule),
        ("users", rules::users::rule),
        ("width", rules::width::rule),
        ("words", rules::words::rule),
    ];
    for (name, rule) in rules {
        let found = rule(tree);
        println!("== {name}: {}", found.len());
        for f in found {
            println!("  {f}");
        }
    }
}
