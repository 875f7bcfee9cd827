use trine::{Executor, Kind};

fn main() {
    let factor = std::env::args().count() as u32;
    let products = Kind::Process.map(1..3_u32, move |n| n * factor);
    println!("{}", products.map(Result::unwrap).sum::<u32>());
}
