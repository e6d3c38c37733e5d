package kernel

import (
	"fmt"
	"math"
	"sync"
)

// rowJob is one row-wise call; the rows are cut into runs of about equal work.
type rowJob struct {
	dst, src    Mat
	gamma, beta []float32
	eps         float32
	count       int // rows per job
	row         func(ws *Workspace, j *rowJob, i int)
	run         func(ws *Workspace, i int)
}

var idleRowJobs struct {
	sync.Mutex
	list []*rowJob
}

// runRows calls row for every row of src, in parallel when there are many.
func runRows(dst, src Mat, gamma, beta []float32, eps float32, row func(ws *Workspace, j *rowJob, i int)) {
	idleRowJobs.Lock()
	var j *rowJob
	if last := len(idleRowJobs.list) - 1; last >= 0 {
		j, idleRowJobs.list = idleRowJobs.list[last], idleRowJobs.list[:last]
	}
	idleRowJobs.Unlock()
	if j == nil {
		j = new(rowJob)
		j.run = j.job
	}
	j.dst, j.src, j.gamma, j.beta, j.eps, j.row = dst, src, gamma, beta, eps, row
	j.count = max(1, 1<<15/max(1, src.Cols))
	jobs := (src.Rows + j.count - 1) / j.count
	inWorkspaces(jobs, j.run)
	*j = rowJob{run: j.run}
	idleRowJobs.Lock()
	idleRowJobs.list = append(idleRowJobs.list, j)
	idleRowJobs.Unlock()
}

func (j *rowJob) job(ws *Workspace, i int) {
	for row := i * j.count; row < min(j.src.Rows, (i+1)*j.count); row++ {
		j.row(ws, j, row)
	}
}

// input returns row i as float32: the row itself or a converted copy.
func (j *rowJob) input(ws *Workspace, i int) []float32 {
	if j.src.H == nil {
		return j.src.Row(i)
	}
	row := grow(&ws.convert, 2*j.src.Cols)[:j.src.Cols]
	active.fromBF16(row, j.src.RowBF16(i))
	return row
}

// output returns where row i of float32 results goes before store.
func (j *rowJob) output(ws *Workspace, i int) []float32 {
	if j.dst.H == nil {
		return j.dst.Row(i)
	}
	return grow(&ws.convert, 2*j.src.Cols)[j.src.Cols:]
}

func (j *rowJob) store(i int, row []float32) {
	if j.dst.H != nil {
		active.toBF16(j.dst.RowBF16(i), row)
	}
}

func checkRows(dst, src Mat) {
	dst.check("target")
	src.check("source")
	if dst.Rows != src.Rows || dst.Cols != src.Cols {
		panic(fmt.Sprintf("kernel: target [%d, %d] of a source [%d, %d]", dst.Rows, dst.Cols, src.Rows, src.Cols))
	}
}

// LayerNorm sets each row of dst to (x - mean)/sqrt(variance + eps) * gamma + beta,
// rounded to the format of dst. gamma and beta, [Cols], may be nil for ones and
// zeros. dst may be x.
func LayerNorm(dst, x Mat, gamma, beta []float32, eps float32) {
	checkRows(dst, x)
	if gamma != nil {
		checkLen("gamma", len(gamma), x.Cols)
	}
	if beta != nil {
		checkLen("beta", len(beta), x.Cols)
	}
	if !x.empty() {
		runRows(dst, x, gamma, beta, eps, layerNormRow)
	}
}

func layerNormRow(ws *Workspace, j *rowJob, i int) {
	x, y := j.input(ws, i), j.output(ws, i)
	mean, variance := active.moments(x)
	inverse := float32(1 / math.Sqrt(float64(variance)+float64(j.eps)))
	gamma, beta := j.gamma, j.beta
	if gamma == nil || beta == nil {
		constants := grow(&ws.constants, 2*len(x))
		if gamma == nil {
			gamma = constants[:len(x)]
			for c := range gamma {
				gamma[c] = 1
			}
		}
		if beta == nil {
			beta = constants[len(x):]
			clear(beta)
		}
	}
	active.normalize(y, x, gamma, beta, mean, inverse)
	j.store(i, y)
}

// NormalizeRows sets each row of dst to the row of src divided by its length or
// by eps, whichever is larger. dst may be src.
func NormalizeRows(dst, src Mat, eps float32) {
	checkRows(dst, src)
	if !src.empty() {
		runRows(dst, src, nil, nil, eps, normalizeRow)
	}
}

func normalizeRow(ws *Workspace, j *rowJob, i int) {
	x, y := j.input(ws, i), j.output(ws, i)
	length := Norm2(x)
	if length < j.eps {
		length = j.eps
	}
	active.scale(y, x, 1/length)
	j.store(i, y)
}

// Convert copies src to dst, rounding or widening to the format of dst.
func Convert(dst, src Mat) {
	checkRows(dst, src)
	if !src.empty() {
		runRows(dst, src, nil, nil, 0, convertRow)
	}
}

func convertRow(_ *Workspace, j *rowJob, i int) {
	switch {
	case j.dst.H == nil && j.src.H == nil:
		copy(j.dst.Row(i), j.src.Row(i))
	case j.dst.H == nil:
		active.fromBF16(j.dst.Row(i), j.src.RowBF16(i))
	case j.src.H == nil:
		active.toBF16(j.dst.RowBF16(i), j.src.Row(i))
	default:
		copy(j.dst.RowBF16(i), j.src.RowBF16(i))
	}
}

// SoftmaxRows sets each row of dst to the softmax of scale times the row of src.
// dst may be src.
func SoftmaxRows(dst, src Mat, scale float32) {
	checkRows(dst, src)
	if !src.empty() {
		runRows(dst, src, nil, nil, scale, softmaxRow)
	}
}

func softmaxRow(ws *Workspace, j *rowJob, i int) {
	x, y := j.input(ws, i), j.output(ws, i)
	softmax(y, x, j.eps)
	j.store(i, y)
}

// Softmax replaces the row by exp(row) divided by its sum.
func Softmax(row []float32) { SoftmaxScaled(row, row, 1) }

// SoftmaxScaled sets dst to the softmax of scale*src. dst may be src.
func SoftmaxScaled(dst, src []float32, scale float32) {
	checkLen("softmax", len(dst), len(src))
	if len(src) > 0 {
		softmax(dst, src, scale)
	}
}

func softmax(dst, src []float32, scale float32) {
	if scale < 0 {
		active.scale(dst, src, scale)
		src, scale = dst, 1
	}
	sum := active.expWeights(dst, src, scale, scale*active.maximum(src))
	active.scale(dst, dst, 1/sum)
}

// Exp sets dst to exp(src), within 2 units in the last place. dst may be src.
func Exp(dst, src []float32) {
	checkLen("exp", len(dst), len(src))
	if len(src) > 0 {
		active.expSum(dst, src, 1, 0)
	}
}

// HighestLines finds the highest of the lines y = from[i] + rise[i]*x, at least one: best[j] is its y at x = at[j] and winner[j] which
// line it is, the first of equal ones. Lines must be finite.
func HighestLines(best []float32, winner []int32, at, from, rise []float32) {
	checkLen("best", len(best), len(at))
	checkLen("winner", len(winner), len(at))
	checkLen("rise", len(rise), len(from))
	if len(from) == 0 {
		panic("kernel: the highest of no lines")
	}
	if len(at) > 0 {
		active.highest(best, winner, at, from, rise)
	}
}

// Dot is the sum of x[i]*y[i].
func Dot(x, y []float32) float32 {
	checkLen("dot", len(y), len(x))
	if len(x) == 0 {
		return 0
	}
	return active.dot(x, y)
}

// Norm2 is the Euclidean length of x.
func Norm2(x []float32) float32 { return float32(math.Sqrt(float64(Dot(x, x)))) }

// Axpy adds alpha*x to y.
func Axpy(y []float32, alpha float32, x []float32) {
	checkLen("axpy", len(y), len(x))
	if len(x) > 0 {
		active.axpy(y, alpha, x)
	}
}

// Scale sets dst to alpha*src. dst may be src.
func Scale(dst []float32, alpha float32, src []float32) {
	checkLen("scale", len(dst), len(src))
	if len(src) > 0 {
		active.scale(dst, src, alpha)
	}
}

// ToBF16 rounds src to bfloat16, to nearest even; subnormal numbers become zero.
func ToBF16(dst []uint16, src []float32) {
	checkLen("bfloat16 conversion", len(dst), len(src))
	if len(src) > 0 {
		active.toBF16(dst, src)
	}
}

// FromBF16 widens src.
func FromBF16(dst []float32, src []uint16) {
	checkLen("bfloat16 conversion", len(dst), len(src))
	if len(src) > 0 {
		active.fromBF16(dst, src)
	}
}

// FromF16 widens IEEE half-precision numbers, little-endian and at any address.
func FromF16(dst []float32, src []byte) {
	checkLen("half-precision conversion", len(src), 2*len(dst))
	if len(dst) > 0 {
		active.fromF16(dst, src)
	}
}
