package pretrain

import "math"

// groups gives equal texts the same number, so that they share the positives of the loss.
func groups(ids [][]int32) []int {
	seen := map[string]int{}
	out := make([]int, len(ids))
	for i, text := range ids {
		key := make([]byte, 0, 4*len(text))
		for _, id := range text {
			key = append(key, byte(id), byte(id>>8), byte(id>>16))
		}
		if _, ok := seen[string(key)]; !ok {
			seen[string(key)] = len(seen)
		}
		out[i] = seen[string(key)]
	}
	return out
}

// contrast is the symmetric cross-entropy of exp(logScale) phi [B, B] (rows pictures, columns texts) against targets that
// are uniform over the group: the loss, the gradient by phi (which replaces phi) and by logScale, and how often the
// picture's best text, and the text's best picture, is one of its group.
func contrast[T real](phi mat[T], group []int, logScale float64) (loss, dScale, imageToText, textToImage float64) {
	b := phi.rows
	scale := math.Exp(logScale)
	size := map[int]float64{}
	for _, g := range group {
		size[g]++
	}
	gradient := make([]float64, b*b)
	logits := make([]float64, b)
	half := func(value func(i, j int) float64, place func(i, j int) int) (hits float64) {
		for i := 0; i < b; i++ {
			top, best := math.Inf(-1), 0
			for j := range logits {
				logits[j] = scale * value(i, j)
				if logits[j] > top {
					top, best = logits[j], j
				}
			}
			sum := 0.0
			for _, z := range logits {
				sum += math.Exp(z - top)
			}
			norm := top + math.Log(sum)
			for j, z := range logits {
				target := 0.0
				if group[j] == group[i] {
					target = 1 / size[group[i]]
				}
				loss += target * (norm - z) / float64(2*b)
				d := (math.Exp(z-norm) - target) / float64(2*b)
				gradient[place(i, j)] += d * scale
				dScale += d * z
			}
			if group[best] == group[i] {
				hits++
			}
		}
		return hits / float64(b)
	}
	imageToText = half(func(i, j int) float64 { return float64(phi.row(i)[j]) }, func(i, j int) int { return i*b + j })
	textToImage = half(func(i, j int) float64 { return float64(phi.row(j)[i]) }, func(i, j int) int { return j*b + i })
	for i := 0; i < b; i++ {
		row := phi.row(i)
		for j := range row {
			row[j] = T(gradient[i*b+j])
		}
	}
	return loss, dScale, imageToText, textToImage
}

// pairScratch is the memory of one picture's pairs with all texts.
type pairScratch[T real] struct{ weights, pooled, toward, slopes []T }

// pairForward sets phi [B] to the compatibility of one picture's unit patches [N, D] with every unit text [B, D]: the
// cosine of the text and the mean of the patches weighted by the softmax of their cosines to it over tau. It leaves the
// weights [B, N] and the means [B, D] in the scratch.
func pairForward[T real](e engine[T], patches, texts mat[T], tau float64, phi []T, s *pairScratch[T]) (weights, pooled mat[T]) {
	b, n, d := texts.rows, patches.rows, patches.cols
	weights = matrix(grow(&s.weights, b*n), b, n)
	pooled = matrix(grow(&s.pooled, b*d), b, d)
	e.gemm(weights, T(1/tau), texts, false, patches, true, false)
	for j := 0; j < b; j++ {
		e.softmax(weights.row(j))
	}
	e.gemm(pooled, 1, weights, false, patches, false, false)
	for j := 0; j < b; j++ {
		var dot, square T
		text := texts.row(j)
		for k, v := range pooled.row(j) {
			dot += v * text[k]
			square += v * v
		}
		phi[j] = dot / T(math.Max(math.Sqrt(float64(square)), 1e-12))
	}
	return weights, pooled
}

// pairBackward sets dPatches [N, D] and adds to dTexts [B, D], given the gradient g [B] by phi.
func pairBackward[T real](e engine[T], patches, texts mat[T], tau float64, g []T, dPatches, dTexts mat[T], phi []T, s *pairScratch[T]) {
	b, n, d := texts.rows, patches.rows, patches.cols
	weights, pooled := pairForward(e, patches, texts, tau, phi, s)
	toward := matrix(grow(&s.toward, b*d), b, d) // g (t - phi v)/r, v being the unit mean and r its length
	for j := 0; j < b; j++ {
		square := T(0)
		for _, v := range pooled.row(j) {
			square += v * v
		}
		r := T(math.Max(math.Sqrt(float64(square)), 1e-12))
		text, out, dt := texts.row(j), toward.row(j), dTexts.row(j)
		for k, v := range pooled.row(j) {
			unit := v / r
			out[k] = g[j] * (text[k] - phi[j]*unit) / r
			dt[k] += g[j] * unit
		}
	}
	// toward is orthogonal to the mean, so the softmax's own correction vanishes.
	slopes := matrix(grow(&s.slopes, b*n), b, n)
	e.gemm(slopes, T(1/tau), toward, false, patches, true, false)
	for i, a := range weights.data {
		slopes.data[i] *= a
	}
	e.gemm(dPatches, 1, weights, true, toward, false, false)
	e.gemm(dPatches, 1, slopes, true, texts, false, true)
	e.gemm(dTexts, 1, slopes, false, patches, false, true)
}
