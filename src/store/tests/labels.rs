//! Label names and values, across partitions and the open window.

use super::*;

#[test]
fn labels_are_told_of_partitions_and_of_the_open_window() {
    let (_fixture, store) = sealed();
    fill(&store, "b", START.minus(HOUR), 60);
    let values = |selectors: &[Vec<Matcher>], hours: (u32, u32)| -> Vec<String> {
        let (start, end) = (START.minus(HOUR * hours.0), START.minus(HOUR * hours.1));
        store.label_values("__name__", selectors, start, end).unwrap().into_iter().collect()
    };
    assert_eq!(values(&[], (6, 0)), ["a", "b"]);
    assert_eq!(values(&[], (4, 3)), ["a"], "part of a partition");
    assert_eq!(values(&[], (9, 8)), [""; 0], "before everything");
    let [a, b] = ["a", "b"].map(|name| vec![Matcher::equal("__name__", name)]);
    assert_eq!(values(std::slice::from_ref(&b), (6, 0)), ["b"]);
    assert_eq!(values(&[a, b], (6, 0)), ["a", "b"], "any selector will do");
    let names = store.label_names(&[], START.minus(6 * HOUR), START).unwrap();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["__name__"]);
}
