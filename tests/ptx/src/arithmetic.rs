//! What a thread computes by itself: bits in, bits out. Registers hold bits, zeros above the width of a value.

use crate::fault::Space;
use crate::instruction::{Class, Comparison, Function, Rounding, Type};

/// Where shared, local and parameter memory and the variables of a module lie among addresses that say their space themselves.
const WINDOWS: [(Space, u64); 4] = [
    (Space::Shared, 1 << 56),
    (Space::Local, 2 << 56),
    (Space::Param, 3 << 56),
    (Space::Module, 4 << 56),
];

/// A number of address bits that no variable of a module reaches.
const SPACING: u32 = 32;

/// The address of a variable of a module, which is one in global memory too.
pub fn variable(index: usize) -> u64 {
    to_generic(Space::Module, (index as u64 + 1) << SPACING)
}

/// Which variable of a module an address of theirs is in, and where.
pub fn in_variable(address: u64) -> (usize, u64) {
    ((address >> SPACING).wrapping_sub(1) as usize, address & ((1 << SPACING) - 1))
}

/// The space that an instruction touches, and the address there. `None`: the address says its space itself.
pub fn resolve(space: Option<Space>, address: u64) -> (Space, u64) {
    match (space, from_generic(address)) {
        (None, found) | (Some(Space::Global), found @ (Space::Module, _)) => found,
        (Some(space), _) => (space, address),
    }
}

/// The address that says its space itself.
pub fn to_generic(space: Space, address: u64) -> u64 {
    address + WINDOWS.iter().find(|(it, _)| *it == space).map_or(0, |(_, base)| *base)
}

/// Space and address there.
pub fn from_generic(address: u64) -> (Space, u64) {
    let window = WINDOWS.iter().find(|(_, base)| address >> 56 == base >> 56);
    window.map_or((Space::Global, address), |(space, base)| (*space, address - base))
}

/// `f32` from the bits of a register.
pub fn float(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

/// bf16, the upper half of an `f32`.
pub fn brain(bits: u64) -> f32 {
    f32::from_bits((bits as u32) << 16)
}

/// To bf16, to nearest with ties to even.
pub fn to_brain(value: f32) -> u64 {
    let bits = value.to_bits();
    if value.is_nan() {
        return 0x7fff;
    }
    u64::from((bits + 0x7fff + (bits >> 16 & 1)) >> 16)
}

/// The result of a function on operands of which it takes as many as it needs; `None` where the type has no such function.
pub fn evaluate(function: Function, kind: Type, x: &[u64; 5]) -> Option<u64> {
    let bits = match function {
        Function::Move => x[0],
        Function::ToGeneric(space) => to_generic(space, x[0]),
        Function::FromGeneric(Space::Global) => x[0],
        Function::FromGeneric(_) => from_generic(x[0]).1,
        Function::Select => {
            if x[2] != 0 {
                x[0]
            } else {
                x[1]
            }
        }
        Function::Compare(comparison) => u64::from(compare(comparison, kind, x[0], x[1])),
        Function::Convert { from, rounding, integral, saturate } => convert(from, kind, rounding, integral, saturate, x[0])?,
        Function::PackBrain => to_brain(float(x[0])) << 16 | to_brain(float(x[1])),
        _ => match (kind.class, kind.bits) {
            (Class::Float, 32) => u64::from(single(function, x)?.to_bits()),
            (Class::Float, 64) => double(function, x)?.to_bits(),
            (Class::Brain, 16) => brain_function(function, x)?,
            (Class::Brain, 32) => {
                let half = |shift: u32| brain_function(function, &x.map(|it| it >> shift & 0xffff));
                half(16)? << 16 | half(0)?
            }
            (Class::Float, _) => return None,
            _ => whole(function, kind, x)?,
        },
    };
    let wide = matches!(function, Function::MulWide | Function::MadWide);
    let compares = matches!(function, Function::Compare(_));
    Some(
        bits & if wide {
            u64::MAX
        } else if compares {
            1
        } else {
            kind.mask()
        },
    )
}

/// The value of a whole number of this type.
fn value(kind: Type, bits: u64) -> i128 {
    let bits = bits & kind.mask();
    if kind.class == Class::Signed && bits >> (kind.bits - 1) == 1 {
        i128::from(bits) - (1i128 << kind.bits)
    } else {
        i128::from(bits)
    }
}

fn whole(function: Function, kind: Type, x: &[u64; 5]) -> Option<u64> {
    // Most of what kernels do, where neither sign nor width decides about the lower bits.
    match function {
        Function::Add => return Some(x[0].wrapping_add(x[1])),
        Function::Sub => return Some(x[0].wrapping_sub(x[1])),
        Function::MulLow => return Some(x[0].wrapping_mul(x[1])),
        Function::MadLow => return Some(x[0].wrapping_mul(x[1]).wrapping_add(x[2])),
        Function::And => return Some(x[0] & x[1]),
        Function::Or => return Some(x[0] | x[1]),
        Function::Xor => return Some(x[0] ^ x[1]),
        _ => {}
    }
    let [a, b] = [value(kind, x[0]), value(kind, x[1])];
    // The third operand of a wide product has the width of the result.
    let wide = value(Type { class: kind.class, bits: 64 }, x[2]);
    let count = (x[1] as u32).min(kind.bits);
    let result = match function {
        Function::MulWide => a.wrapping_mul(b),
        Function::MulHigh => a.wrapping_mul(b) >> kind.bits,
        Function::MadWide => a.wrapping_mul(b).wrapping_add(wide),
        // What a division by zero gives is not specified; hardware gives ones.
        Function::Div => a.checked_div(b).unwrap_or(-1),
        Function::Rem => a.checked_rem(b).unwrap_or(a),
        Function::Min => a.min(b),
        Function::Max => a.max(b),
        Function::Not => i128::from(!x[0] & kind.mask()),
        Function::Neg => -a,
        Function::Abs => a.abs(),
        Function::ShiftLeft => i128::from(x[0] & kind.mask()) << count,
        Function::ShiftRight => a >> count,
        Function::BitInsert => {
            let (at, length) = ((x[2] as u32 & 0xff).min(kind.bits), (x[3] as u32 & 0xff).min(kind.bits));
            let field = (((1u128 << length) - 1) << at) as u64;
            i128::from(x[1] & !field | (u128::from(x[0]) << at) as u64 & field)
        }
        Function::BitExtract if kind.class == Class::Unsigned => {
            let (at, length) = (x[1] as u32 & 0xff, x[2] as u32 & 0xff);
            i128::from((u128::from(x[0]) >> at.min(64)) as u64) & ((1i128 << length.min(64)) - 1)
        }
        Function::Permute => i128::from(permute(x)),
        Function::CountOnes => i128::from((x[0] & kind.mask()).count_ones()),
        Function::LeadingZeros => i128::from((x[0] & kind.mask()).leading_zeros() + kind.bits - 64),
        _ => return None,
    };
    Some(result as u64)
}

/// `prmt`: each byte is one of the eight bytes of two registers, or its sign.
fn permute(x: &[u64; 5]) -> u64 {
    let all = x[0] & 0xffff_ffff | x[1] << 32;
    (0..4).fold(0, |result, place| {
        let selector = x[2] >> (4 * place) & 15;
        let byte = all >> (8 * (selector & 7)) & 255;
        let byte = if selector & 8 == 0 { byte } else { (byte >> 7) * 255 };
        result | byte << (8 * place)
    })
}

fn single(function: Function, x: &[u64; 5]) -> Option<f32> {
    let [a, b, c] = [float(x[0]), float(x[1]), float(x[2])];
    let through = |f: fn(f64) -> f64| f(f64::from(a)) as f32;
    Some(match function {
        Function::Add => a + b,
        Function::Sub => a - b,
        Function::MulLow => a * b,
        Function::Div => a / b,
        // Of a number and a NaN it is the number.
        Function::Min => a.min(b),
        Function::Max => a.max(b),
        Function::Neg => -a,
        Function::Abs => a.abs(),
        Function::Fma(Rounding::Nearest) => a.mul_add(b, c),
        Function::Fma(rounding) => narrow(f64::from(a) * f64::from(b) + f64::from(c), rounding),
        Function::Exp2 => through(f64::exp2),
        Function::Log2 => through(f64::log2),
        Function::Reciprocal => 1.0 / a,
        Function::Sqrt => a.sqrt(),
        Function::InverseSqrt => (1.0 / f64::from(a).sqrt()) as f32,
        Function::Sine => through(f64::sin),
        Function::Cosine => through(f64::cos),
        Function::Tanh => through(f64::tanh),
        _ => return None,
    })
}

fn double(function: Function, x: &[u64; 5]) -> Option<f64> {
    let [a, b, c] = [f64::from_bits(x[0]), f64::from_bits(x[1]), f64::from_bits(x[2])];
    Some(match function {
        Function::Add => a + b,
        Function::Sub => a - b,
        Function::MulLow => a * b,
        Function::Div => a / b,
        Function::Min => a.min(b),
        Function::Max => a.max(b),
        Function::Neg => -a,
        Function::Abs => a.abs(),
        Function::Fma(Rounding::Nearest) => a.mul_add(b, c),
        Function::Reciprocal => 1.0 / a,
        Function::Sqrt => a.sqrt(),
        _ => return None,
    })
}

/// In `f64`, where sums and products of bf16 are exact, and rounded once.
fn brain_function(function: Function, x: &[u64; 5]) -> Option<u64> {
    let [a, b, c] = [f64::from(brain(x[0])), f64::from(brain(x[1])), f64::from(brain(x[2]))];
    let exact = match function {
        Function::Add => a + b,
        Function::Sub => a - b,
        Function::MulLow => a * b,
        Function::Fma(Rounding::Nearest) => a * b + c,
        Function::Min => a.min(b),
        Function::Max => a.max(b),
        Function::Neg => -a,
        Function::Abs => a.abs(),
        _ => return None,
    };
    // Rounded to `f32` first, with a sticky lowest bit, so that the second rounding cannot make a tie of what is none.
    let down = narrow(exact, Rounding::Zero);
    let sticky = u32::from(f64::from(down) != exact && !exact.is_nan());
    Some(to_brain(f32::from_bits(down.to_bits() | sticky)))
}

/// To `f32` in a direction.
fn narrow(exact: f64, rounding: Rounding) -> f32 {
    let near = exact as f32;
    let wide = f64::from(near);
    let towards_zero = |away: bool| {
        if away {
            if near > 0.0 { near.next_down() } else { near.next_up() }
        } else {
            near
        }
    };
    match rounding {
        Rounding::Nearest => near,
        Rounding::Zero => towards_zero(wide.abs() > exact.abs()),
        Rounding::Down => {
            if wide > exact {
                near.next_down()
            } else {
                near
            }
        }
        Rounding::Up => {
            if wide < exact {
                near.next_up()
            } else {
                near
            }
        }
    }
}

fn compare(comparison: Comparison, kind: Type, a: u64, b: u64) -> bool {
    let order = match (kind.class, kind.bits) {
        (Class::Float, 32) => float(a).partial_cmp(&float(b)),
        (Class::Float, _) => f64::from_bits(a).partial_cmp(&f64::from_bits(b)),
        (Class::Brain, _) => brain(a).partial_cmp(&brain(b)),
        _ => Some(value(kind, a).cmp(&value(kind, b))),
    };
    match order {
        Some(std::cmp::Ordering::Less) => comparison.less,
        Some(std::cmp::Ordering::Equal) => comparison.equal,
        Some(std::cmp::Ordering::Greater) => comparison.greater,
        None => comparison.unordered,
    }
}

fn convert(from: Type, to: Type, rounding: Rounding, integral: bool, saturate: bool, bits: u64) -> Option<u64> {
    let source = match (from.class, from.bits) {
        (Class::Float, 32) => f64::from(float(bits)),
        (Class::Float, 64) => f64::from_bits(bits),
        (Class::Brain, 16) => f64::from(brain(bits)),
        (Class::Float | Class::Brain, _) => return None,
        _ if matches!(to.class, Class::Unsigned | Class::Signed) => return Some(value(from, bits) as u64),
        _ => value(from, bits) as f64,
    };
    let rounded = if integral { to_whole(source, rounding) } else { source };
    let limited = match saturate {
        true if rounded.is_nan() => 0.0,
        true => rounded.clamp(0.0, 1.0),
        false => rounded,
    };
    Some(match (to.class, to.bits) {
        (Class::Float, 32) => u64::from(narrow(limited, rounding).to_bits()),
        (Class::Float, 64) => limited.to_bits(),
        (Class::Brain, 16) => to_brain(limited as f32),
        (Class::Float | Class::Brain | Class::Predicate, _) => return None,
        // Too large numbers become the largest, and NaN zero.
        (Class::Signed, bits) => (rounded as i64).clamp(i64::MIN >> (64 - bits), i64::MAX >> (64 - bits)) as u64,
        (Class::Unsigned, bits) => (rounded as u64).min(u64::MAX >> (64 - bits)),
    })
}

fn to_whole(value: f64, rounding: Rounding) -> f64 {
    match rounding {
        Rounding::Nearest => value.round_ties_even(),
        Rounding::Zero => value.trunc(),
        Rounding::Down => value.floor(),
        Rounding::Up => value.ceil(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(function: Function, kind: &str, x: &[u64]) -> u64 {
        let mut operands = [0; 5];
        operands[..x.len()].copy_from_slice(x);
        evaluate(function, Type::parse(kind).unwrap(), &operands).unwrap()
    }

    fn bits(value: f32) -> u64 {
        u64::from(value.to_bits())
    }

    #[test]
    fn whole_numbers() {
        assert_eq!(run(Function::Add, "u32", &[0xffff_ffff, 2]), 1);
        assert_eq!(run(Function::ShiftRight, "s32", &[0x8000_0000, 4]), 0xf800_0000);
        assert_eq!(run(Function::ShiftRight, "u32", &[0x8000_0000, 40]), 0);
        assert_eq!(run(Function::MulHigh, "u32", &[0xffff_ffff, 0xffff_ffff]), 0xffff_fffe);
        assert_eq!(run(Function::MulWide, "s32", &[0xffff_ffff, 3]), 3u64.wrapping_neg());
        assert_eq!(run(Function::MadWide, "u32", &[1 << 31, 2, 5]), (1 << 32) + 5);
        assert_eq!(run(Function::BitInsert, "b32", &[0xff, 0, 4, 4]), 0xf0);
        assert_eq!(run(Function::Permute, "b32", &[0x4433_2211, 0x8877_6655, 0x7610]), 0x8877_2211);
        assert_eq!(run(Function::LeadingZeros, "b32", &[1]), 31);
    }

    #[test]
    fn floating_point() {
        assert_eq!(run(Function::Max, "f32", &[bits(f32::NAN), bits(2.0)]), bits(2.0));
        let third = bits(1.0 / 3.0);
        let (down, near) = (
            run(Function::Fma(Rounding::Down), "f32", &[third, third, bits(1e-9)]),
            run(Function::Fma(Rounding::Nearest), "f32", &[third, third, bits(1e-9)]),
        );
        assert!(float(near) >= float(down) && float(near) - float(down) < 1e-7);
        assert_eq!(run(Function::PackBrain, "bf16x2", &[bits(1.0), bits(-2.0)]), 0x3f80_c000);
        // Halfway between two bf16 the even one, and a little more goes up.
        assert_eq!(to_brain(f32::from_bits(0x3f80_8000)), 0x3f80);
        assert_eq!(to_brain(f32::from_bits(0x3f80_8001)), 0x3f81);
        // 1 + 2^-8 + 2^-40 is no tie.
        assert_eq!(
            run(Function::Fma(Rounding::Nearest), "bf16", &[to_brain(2f32.powi(-20)), to_brain(2f32.powi(-20)), 0x3f80]),
            0x3f80
        );
    }

    #[test]
    fn conversions_and_comparisons() {
        let convert =
            |from: &str, rounding, integral, saturate| Function::Convert { from: Type::parse(from).unwrap(), rounding, integral, saturate };
        assert_eq!(run(convert("f32", Rounding::Zero, true, false), "s32", &[bits(-2.7)]), 0xffff_fffe);
        assert_eq!(run(convert("f32", Rounding::Nearest, false, true), "f32", &[bits(1.5)]), bits(1.0));
        assert_eq!(run(convert("u16", Rounding::Nearest, false, false), "u32", &[0x1_0005]), 5);
        assert_eq!(run(convert("s32", Rounding::Nearest, false, false), "s64", &[0xffff_ffff]), u64::MAX);
        let less = Comparison { less: true, equal: false, greater: false, unordered: false };
        assert_eq!(run(Function::Compare(less), "s32", &[0xffff_ffff, 0]), 1);
        assert_eq!(run(Function::Compare(less), "u32", &[0xffff_ffff, 0]), 0);
        assert_eq!(run(Function::Compare(less), "f32", &[bits(f32::NAN), 0]), 0);
        assert_eq!(run(Function::Compare(Comparison { unordered: true, ..less }), "f32", &[bits(f32::NAN), 0]), 1);
    }

    #[test]
    fn generic_addresses_keep_their_space() {
        assert_eq!(from_generic(to_generic(Space::Shared, 64)), (Space::Shared, 64));
        assert_eq!(from_generic(3 << 32), (Space::Global, 3 << 32));
    }
}
