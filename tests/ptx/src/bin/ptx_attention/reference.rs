//! Attention and its gradients from the definition, in float64 (docs/reference/method.md section 2.2).

/// Sizes of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// Tokens.
    pub tokens: usize,
    /// Heads.
    pub heads: usize,
    /// Numbers of a head.
    pub head: usize,
}

/// Inputs, exact in bf16.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// `[T, 3, heads, head]`.
    pub qkv: Vec<f32>,
    /// `[T, heads, head]`.
    pub dy: Vec<f32>,
}

/// Results.
#[derive(Debug, Clone)]
pub struct Reference {
    /// `[T, heads, head]`.
    pub out: Vec<f64>,
    /// `[heads, T]`.
    pub lse: Vec<f64>,
    /// `[T, 3, heads, head]`.
    pub dqkv: Vec<f64>,
}

/// Computes everything.
pub fn reference(case: Case, inputs: &Inputs) -> Reference {
    let Case { tokens, heads, head } = case;
    let width = heads * head;
    let mut result = Reference {
        out: vec![0.0; tokens * width],
        lse: vec![0.0; heads * tokens],
        dqkv: vec![0.0; tokens * 3 * width],
    };
    for h in 0..heads {
        let at = |token: usize, part: usize| (3 * token + part) * width + h * head;
        let row = |token: usize| token * width + h * head;
        let of = |values: &[f32], start: usize| values[start..start + head].iter().map(|it| f64::from(*it)).collect::<Vec<f64>>();
        let part = |index: usize| (0..tokens).map(|token| of(&inputs.qkv, at(token, index))).collect::<Vec<_>>();
        let [q, k, v] = [part(0), part(1), part(2)];
        let scale = 1.0 / (head as f64).sqrt();
        for (i, query) in q.iter().enumerate() {
            let g = of(&inputs.dy, row(i));
            let scores: Vec<f64> = k.iter().map(|k| scale * dot(query, k)).collect();
            let peak = scores.iter().copied().fold(f64::MIN, f64::max);
            let lse = peak + scores.iter().map(|score| (score - peak).exp()).sum::<f64>().ln();
            result.lse[h * tokens + i] = lse;
            let p: Vec<f64> = scores.iter().map(|score| (score - lse).exp()).collect();
            let dp: Vec<f64> = v.iter().map(|v| dot(&g, v)).collect();
            let delta = dot(&p, &dp);
            for j in 0..tokens {
                let ds = p[j] * (dp[j] - delta) * scale;
                for c in 0..head {
                    result.out[row(i) + c] += p[j] * v[j][c];
                    result.dqkv[at(i, 0) + c] += ds * k[j][c];
                    result.dqkv[at(j, 1) + c] += ds * query[c];
                    result.dqkv[at(j, 2) + c] += p[j] * g[c];
                }
            }
        }
    }
    result
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Largest difference over largest value.
pub fn error(got: impl Iterator<Item = f32>, want: &[f64]) -> f64 {
    let largest = want.iter().fold(0.0f64, |most, value| most.max(value.abs()));
    got.zip(want).fold(0.0f64, |most, (got, want)| {
        let difference = (f64::from(got) - want).abs();
        // A NaN is the worst of errors.
        if difference.is_nan() { f64::INFINITY } else { most.max(difference) }
    }) / largest
}
