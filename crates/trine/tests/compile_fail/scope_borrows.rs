//! Borrows that end in time compile.

fn main() {
    let table = vec![1, 2, 3];
    let mut sum = 0;
    let length = trine::scope(|s| {
        s.coroutine(|| sum = table.iter().sum());
        s.thread(|| table.len()).join().unwrap()
    });
    assert_eq!((sum, length.unwrap()), (6, 3));
}
