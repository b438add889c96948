//! Text of which no sentence says what another does, and none has a number.

use crate::random::Random;

/// People.
pub(super) const PEOPLE: [&str; 24] = [
    "Anna", "Bruno", "Clara", "David", "Elena", "Felix", "Greta", "Hugo", "Ines", "Jonas", "Karin", "Leon", "Marta",
    "Nils", "Olga", "Paul", "Rosa", "Simon", "Tara", "Urban", "Vera", "Walter", "Yara", "Zeno",
];
/// Places.
pub(super) const PLACES: [&str; 20] = [
    "Lisbon", "Bergen", "Krakow", "Dublin", "Genoa", "Toulouse", "Malmo", "Porto", "Graz", "Ghent", "Riga", "Seville",
    "Turku", "Verona", "Basel", "Leeds", "Odense", "Split", "Utrecht", "Zagreb",
];
/// Things that are sent about.
pub(super) const THINGS: [&str; 24] = [
    "lamp",
    "ladder",
    "carpet",
    "violin",
    "kettle",
    "mirror",
    "saddle",
    "compass",
    "blanket",
    "typewriter",
    "barrel",
    "anchor",
    "clock",
    "bicycle",
    "piano",
    "tent",
    "telescope",
    "wardrobe",
    "rope",
    "camera",
    "bench",
    "stove",
    "drum",
    "globe",
];
const DEEDS: [&str; 12] = [
    "sent", "sold", "lent", "promised", "showed", "returned", "brought", "gave", "mailed", "handed", "offered",
    "shipped",
];
const KINDS: [&str; 16] = [
    "green", "heavy", "broken", "new", "painted", "small", "wooden", "borrowed", "dusty", "bright", "old", "folding",
    "silver", "plain", "spare", "curious",
];
const TIMES: [&str; 14] = [
    "On Monday",
    "On Tuesday",
    "On Wednesday",
    "On Thursday",
    "On Friday",
    "On Saturday",
    "On Sunday",
    "At noon",
    "In the evening",
    "Before breakfast",
    "After the rain",
    "Late at night",
    "That week",
    "In spring",
];

/// `Anna sent a green lamp to Bruno in Lisbon`.
pub(super) fn deed(random: &mut Random) -> String {
    let [deed, kind] = [random.one_of(&DEEDS), random.one_of(&KINDS)];
    let [who, whom] = [random.one_of(&PEOPLE), random.one_of(&PEOPLE)];
    let article = if kind.starts_with(['o', 'a', 'e', 'i', 'u']) { "an" } else { "a" };
    let [thing, place] = [random.one_of(&THINGS), random.one_of(&PLACES)];
    format!("{who} {deed} {article} {kind} {thing} to {whom} in {place}")
}

/// So many sentences; more of the same stream begin alike.
pub(super) fn sentences(count: usize, mut random: Random) -> Vec<String> {
    let mut sentence = || format!("{} {}.", random.one_of(&TIMES), deed(&mut random));
    (0..count).map(|_| sentence()).collect()
}
