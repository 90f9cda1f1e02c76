//! The test Hub as a program, for the browser tests: `test-hub [PORT]`.

fn main() {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(0);
    let hub = rewardscope_tests::hub::TestHub::start(port);
    println!("{}", hub.endpoint());
    // It runs until the program that started it closes its standard input.
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
}
