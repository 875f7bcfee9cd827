//! A task of a scope borrows a value that ends before the scope does.

fn main() {
    let value = trine::scope(|s| {
        let inner = String::from("gone when the function of the scope returns");
        s.coroutine(|| inner.len());
    });
    value.unwrap();
}
