fn main() {
    let pool = trine::process::Pool::new(1);
    let text = String::from("abc");
    pool.spawn(&text, |text| text.len()).join().unwrap();
}
