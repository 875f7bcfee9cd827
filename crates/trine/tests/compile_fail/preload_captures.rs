fn main() {
    let size = std::env::args().count();
    let _pool = trine::process::Pool::builder().preload(move || println!("{size}")).build();
}
