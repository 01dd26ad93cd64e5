//! Tokens and joins on a GPU against float64 references.

use crate::common::{Report, TYPES, download, random, upload};
use burn_backend::DType;
use pixgen_cubecl::skip::{concat_last, split_last};
use pixgen_cubecl::tokens::{tokens, tokens_backward};

#[test]
fn input_of_a_tower() {
    let mut report = Report::default();
    for dtype in TYPES {
        for [images, first, count, width] in [[1, 1, 1, 64], [3, 2, 5, 63], [2, 2, 256, 64], [130, 1, 4, 8]] {
            let case = format!("{images} x ({first} + {count}) x {width}");
            let all = first + count;
            let prefix = random(images * first * width, 1, dtype);
            let patches = random(images * count * width, 2, dtype);
            let position = random(all * width, 3, DType::F32);
            let dy = random(images * all * width, 4, dtype);
            let (mut out, mut dprefix, mut dpatches) = (vec![], vec![], vec![]);
            let mut dposition = vec![0.0; all * width];
            for image in 0..images {
                out.extend_from_slice(&prefix[image * first * width..(image + 1) * first * width]);
                out.extend_from_slice(&patches[image * count * width..(image + 1) * count * width]);
                let dy = &dy[image * all * width..(image + 1) * all * width];
                dprefix.extend_from_slice(&dy[..first * width]);
                dpatches.extend_from_slice(&dy[first * width..]);
                dposition.iter_mut().zip(dy).for_each(|(sum, d)| *sum += d);
            }
            out.iter_mut().zip(position.iter().cycle()).for_each(|(value, p)| *value += p);
            let prefix = upload(&prefix, &[images, first, width], dtype);
            let patches = upload(&patches, &[images, count, width], dtype);
            let got = tokens(prefix, patches, upload(&position, &[all, width], DType::F32)).expect("operands fit");
            report.check("tokens", dtype, &got, &out, &case);
            let got = tokens_backward(upload(&dy, &[images, all, width], dtype), first, [true; 3]).expect("operands fit");
            let [got_prefix, got_patches, got_position] = got.map(|g| g.expect("wanted"));
            report.check("tokens dprefix", dtype, &got_prefix, &dprefix, &case);
            report.check("tokens dpatches", dtype, &got_patches, &dpatches, &case);
            report.check("tokens dposition", dtype, &got_position, &dposition, &case);
        }
    }
    report.end();
}

#[test]
fn long_skip() {
    for dtype in TYPES {
        for [rows, left, right] in [[1, 64, 64], [7, 63, 64], [30, 384, 256], [5, 1152, 1024]] {
            let (x, s) = (random(rows * left, 1, dtype), random(rows * right, 2, dtype));
            let joined: Vec<f64> = x.chunks(left).zip(s.chunks(right)).flat_map(|(x, s)| [x, s].concat()).collect();
            let up = |values: &[f64], width| upload(values, &[1, rows, width], dtype);
            let got = concat_last(up(&x, left), up(&s, right)).expect("operands fit");
            assert_eq!(got.meta.shape().as_slice(), [1, rows, left + right]);
            assert_eq!(download(&got), joined);
            let (got_x, got_s) = split_last(got, left).expect("operands fit");
            assert_eq!((download(&got_x), download(&got_s)), (x, s));
        }
    }
}
