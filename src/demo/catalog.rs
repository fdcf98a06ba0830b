//! What the shop sells, and to whom.

/// Something that can be bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Book {
    pub sku: &'static str,
    pub title: &'static str,
    pub cents: u32,
}

const fn book(sku: &'static str, title: &'static str, cents: u32) -> Book {
    Book { sku, title, cents }
}

/// Every book.
pub const BOOKS: &[Book] = &[
    book("book-1", "The Lighthouse Keeper's Ledger", 1490),
    book("book-2", "A Short History of Harbours", 2190),
    book("book-3", "Bread for Beginners", 1290),
    book("book-4", "The Night Train to Lindau", 990),
    book("book-5", "Clouds and How to Read Them", 1850),
    book("book-6", "Letters from the Observatory", 1590),
    book("book-7", "Knots, Splices and Patience", 1390),
    book("book-8", "The Map Maker's Daughter", 1190),
    book("book-9", "Gardens Under Glass", 2490),
    book("book-10", "Two Hundred Soups", 1790),
    book("book-11", "The Clock of Saint Agnes", 1090),
    book("book-12", "Rivers of the North", 2290),
    book("book-13", "The Book That Was Never Counted", 1300),
    book("book-14", "Field Guide to Radio Towers", 1690),
];

/// Its stock record is broken and always was: adding it to a cart answers 500. This is the shop's ordinary share of
/// errors, and nobody meets it who doesn't ask for this very book.
pub const UNCOUNTED: &str = "book-13";

/// The books that can really be bought.
pub fn sellable() -> impl Iterator<Item = &'static Book> {
    BOOKS.iter().filter(|book| book.sku != UNCOUNTED)
}

pub fn find(sku: &str) -> Option<&'static Book> {
    BOOKS.iter().find(|book| book.sku == sku)
}

/// Words that customers search for.
pub const SEARCHES: &[&str] = &["harbours", "soups", "bread", "clouds", "train", "rivers", "letters", "knots", "glass"];

/// The books whose title has this text, in either case.
pub fn search(text: &str) -> Vec<&'static Book> {
    let text = text.to_lowercase();
    BOOKS.iter().filter(|book| book.title.to_lowercase().contains(&text)).collect()
}

/// A business that buys here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Customer {
    pub name: &'static str,
    /// The part of the ledger that holds its account, and that books in one currency only.
    pub ledger_shard: u8,
    /// Its share of the visits, relative to the others'; 0: it never comes by itself.
    pub weight: u8,
}

const fn customer(name: &'static str, ledger_shard: u8, weight: u8) -> Customer {
    Customer { name, ledger_shard, weight }
}

/// Every customer. `synthetic-1` is an account for test purchases; nobody's business depends on it.
pub const CUSTOMERS: &[Customer] = &[
    customer("acme", 7, 3),
    customer("globex", 2, 3),
    customer("initech", 4, 2),
    customer("umbrella", 1, 2),
    customer("hooli", 3, 2),
    customer("stark", 5, 1),
    customer("wayne", 6, 1),
    customer("wonka", 1, 1),
    customer("tyrell", 2, 1),
    customer("cyberdyne", 3, 1),
    customer("soylent", 4, 1),
    customer("vandelay", 5, 1),
    customer("synthetic-1", 6, 0),
];

pub fn find_customer(name: &str) -> Option<&'static Customer> {
    CUSTOMERS.iter().find(|customer| customer.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_the_uncounted_book_is_there() {
        assert_eq!(BOOKS.iter().map(|book| book.sku).collect::<BTreeSet<_>>().len(), BOOKS.len());
        assert_eq!(CUSTOMERS.iter().map(|one| one.name).collect::<BTreeSet<_>>().len(), CUSTOMERS.len());
        assert!(find(UNCOUNTED).is_some());
        assert!(sellable().all(|book| book.sku != UNCOUNTED));
        assert_eq!(sellable().count() + 1, BOOKS.len());
    }

    #[test]
    fn every_search_word_finds_a_book() {
        for word in SEARCHES {
            assert!(!search(word).is_empty(), "{word}");
        }
        assert_eq!(search("HARBOURS"), search("harbours"));
        assert!(search("no such book").is_empty());
    }
}
