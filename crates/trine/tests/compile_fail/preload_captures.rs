fn main() {
    let path = String::from("model");
    let _pool = trine::process::Pool::builder().preload(move || println!("{path}")).build();
}
