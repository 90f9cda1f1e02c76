//! Changes the compiled wasm module: takes out functions that are never called, and makes a second module for browsers
//! with relaxed SIMD.

use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use walrus::ir::{BinaryOp, Instr, InstrSeq, LocalGet, LocalSet, TernOp, TernaryOp, VisitorMut, dfs_pre_order_mut};
use walrus::{FunctionId, LocalId, Module, ModuleConfig, ValType};

/// Parts of the names of functions that dependencies compile in and that the page never calls: burn's own matrix
/// products on GPUs; its quantised tensors, for which cubecl generates a kernel for each view and number type; matrix
/// products of number types that models do not have; the parser of kernels' intermediate representation, which is only
/// ever built by code; and the code that compresses parquet pages and builds dictionaries, because the page only reads
/// parquet.
const NEVER_CALLED: [&str; 27] = [
    "cubek_matmul",
    "cubek_tile",
    "QuantizedView",
    "cubecl_std5quant",
    "cubek_quant",
    "gemm_c32",
    "gemm_c64",
    "gemm_f16",
    "gemm_f64",
    "combine..parser",
    "7combine6parser",
    "pliron..parsable",
    "canonical_syntax_parse",
    "6pliron5irfmt7parsers",
    "byte_array_dictionary",
    "dictionary_buffer",
    "pack_dictionary",
    "PrimitiveDictionaryBuilder",
    "12arrow_select10interleave",
    "12arrow_select6concat",
    "12arrow_select10dictionary",
    "FixedSizeBinaryDictionaryBuilder",
    "zlib_rs7deflate",
    "4snap8compress",
    "lz4_flex5block8compress",
    "PrimitiveArray$LT$T$GT$$u20$as$u20$core..fmt..Debug",
    "DictionaryArray$LT$T$GT$$u20$as$u20$core..fmt..Debug",
];

/// Parts of the names of functions whose multiplications and additions are fused: the CPU's matrix products.
const FUSED: [&str; 2] = ["rows_by_rows", "rows_by_columns"];

fn parse(path: &Path) -> anyhow::Result<Module> {
    let mut config = ModuleConfig::new();
    config.generate_producers_section(false);
    config.parse_file(path).with_context(|| format!("reading {}", path.display()))
}

/// The functions of a module whose names contain one of `parts`.
fn named(module: &Module, parts: &[&str]) -> Vec<FunctionId> {
    let is_meant = |name: &str| parts.iter().any(|part| name.contains(part));
    let functions = module.funcs.iter_local().map(|(id, _)| id);
    functions.filter(|&id| module.funcs.get(id).name.as_deref().is_some_and(is_meant)).collect()
}

/// The compiled module without the functions that are never called. Each gets a body that traps, so that functions that
/// only they called are unreachable and are dropped. Of all function names only those that [`fuse`] needs are kept.
///
/// # Errors
/// When the module cannot be read, or has no names.
pub fn trimmed(path: &Path) -> anyhow::Result<Module> {
    let mut module = parse(path)?;
    let needless = named(&module, &NEVER_CALLED);
    ensure!(!needless.is_empty(), "{} has no names by which to know what is never called", path.display());
    for id in &needless {
        let body = module.funcs.get_mut(*id).kind.unwrap_local_mut();
        let entry = body.entry_block();
        let mut body = body.builder_mut().instr_seq(entry);
        body.instrs_mut().clear();
        body.unreachable();
    }
    println!("{} functions are never called", needless.len());
    let fused = named(&module, &FUSED);
    for function in module.funcs.iter_mut() {
        if !fused.contains(&function.id()) {
            function.name = None;
        }
    }
    Ok(module)
}

/// Writes the module `from` to `to`. In the CPU's matrix products, every multiplication followed by an addition becomes
/// one relaxed multiply-add.
///
/// # Errors
/// When a function is missing, has too few such pairs, or the new module is not valid.
pub fn fuse(from: &Path, to: &Path) -> anyhow::Result<()> {
    let mut module = parse(from)?;
    let functions = named(&module, &FUSED);
    ensure!(functions.len() == FUSED.len(), "{} should have {FUSED:?}, it has {}", from.display(), functions.len());
    for id in functions {
        let Module { funcs, locals, .. } = &mut module;
        let mut fusing = Fusing { operands: [(); 3].map(|()| locals.add(ValType::V128)), fused: 0 };
        let function = funcs.get_mut(id);
        let name = function.name.take().unwrap_or_default();
        let body = function.kind.unwrap_local_mut();
        let entry = body.entry_block();
        dfs_pre_order_mut(&mut fusing, body, entry);
        println!("{} multiply-adds in {name}", fusing.fused);
        // Expected are the tiles of two rows by four, of four rows by two, and of single rows.
        ensure!(fusing.fused >= 10, "{name} was expected to be tiles of products that are added up");
    }
    let bytes = module.emit_wasm();
    wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::all())
        .validate_all(&bytes)
        .map_err(|e| anyhow!("{} with relaxed SIMD: {e}", from.display()))?;
    std::fs::write(to, bytes).with_context(|| format!("writing {}", to.display()))
}

/// Replaces multiplications and additions in a function's instructions.
struct Fusing {
    /// Locals for the two factors and the addend.
    operands: [LocalId; 3],
    /// Number of pairs replaced so far.
    fused: usize,
}

impl VisitorMut for Fusing {
    fn start_instr_seq_mut(&mut self, sequence: &mut InstrSeq) {
        let operation = |at: usize| match sequence.instrs.get(at) {
            Some((Instr::Binop(binary), _)) => Some(binary.op),
            _ => None,
        };
        let [a, b, sum] = self.operands;
        let set = |local| Instr::LocalSet(LocalSet { local });
        let get = |local| Instr::LocalGet(LocalGet { local });
        let madd = Instr::TernOp(TernOp { op: TernaryOp::F32x4RelaxedMadd });
        let mut fused = Vec::with_capacity(sequence.instrs.len() * 2);
        let mut at = 0;
        while let Some((instruction, place)) = sequence.instrs.get(at) {
            let is_product = matches!(operation(at), Some(BinaryOp::F32x4Mul));
            let adds = |offset: usize| matches!(operation(at + offset), Some(BinaryOp::F32x4Add));
            let (instructions, taken) = if is_product && adds(1) {
                // On the stack are the addend and the two factors.
                (vec![set(b), set(a), set(sum), get(a), get(b), get(sum), madd.clone()], 2)
            } else if let (true, true, Some((Instr::LocalGet(addend), _))) =
                (is_product, adds(2), sequence.instrs.get(at + 1))
            {
                (vec![get(addend.local), madd.clone()], 3)
            } else {
                fused.push((instruction.clone(), *place));
                at += 1;
                continue;
            };
            fused.extend(instructions.into_iter().map(|instruction| (instruction, *place)));
            self.fused += 1;
            at += taken;
        }
        sequence.instrs = fused;
    }
}
