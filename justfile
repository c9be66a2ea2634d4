# Run `just` for this list.

[private]
default:
    @just --list --unsorted

# Type check everything, tests, benches and examples too.
check:
    cargo check --workspace --all-targets --all-features

# Run the tests; `just test a_name` runs those whose name contains it.
test *args:
    cargo test --workspace --all-features {{ args }}

# Run tests again and again until one fails: `just loop 200 a_stale_turn_notice`.
loop times *args:
    for i in $(seq {{ times }}); do echo "run $i"; cargo test -q --workspace --all-features {{ args }} || exit 1; done

# Check the format and the lints.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --all-features -- -D warnings

# Build the documentation of our crates, links checked.
doc *args:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --all-features {{ args }}

# Run the command: `just run check examples/sessions`.
run *args:
    cargo run --release -- {{ args }}

# Run the crash tests of the store in full, some minutes: `just reliability 7` for another seed.
reliability seed="1":
    .ci/reliability {{ seed }}

# Run the benchmarks; `just bench spawn` runs those whose name contains it.
bench *args:
    cargo bench --workspace --all-features -- {{ args }}

# Measure, and write the tables of README.md and benches/README.md: ten minutes.
bench-report *args:
    .ci/bench-report {{ args }}

# Instructions of each operation, counted by callgrind: `just instructions turn spawn` for some.
instructions *args:
    .ci/instructions {{ args }}

# A profile of one operation by callgrind: `just callgrind turn`.
callgrind operation:
    .ci/instructions --profile {{ operation }}

# A flame graph of a scenario, target/flame.svg: `just flamegraph turns --round 3s` (needs perf and inferno).
flamegraph scenario *args:
    cargo build --release --all-features --bin coppicer
    perf record -F 1999 -g --call-graph dwarf,16384 -o target/perf.data target/release/coppicer stress {{ scenario }} {{ args }} || true
    perf script -i target/perf.data | inferno-collapse-perf | inferno-flamegraph > target/flame.svg

# Fuzz `line`, `session` or `plan` on the stable toolchain: `just fuzz session 60`.
fuzz target seconds="60":
    fuzz/run {{ target }} {{ seconds }}

# Check licences, bans, sources and advisories (needs cargo-deny, and a download for the last).
deny:
    cargo deny check

# Run the commands of the README.
readme:
    .ci/readme-commands

# Do what CI does.
ci:
    CI=true .ci/run
