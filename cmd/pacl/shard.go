package main

import (
	"fmt"
	"strconv"
	"strings"
)

// shard is a part of a list: number index of count, from 0.
type shard struct {
	index, count int
	source       string // the variable that told, "" for the flag
}

// parseShard reads "I/N", or "/N" for part I as the environment numbers it. Without a flag a Slurm array's own numbers
// count, or those of a Kubernetes Indexed Job; without them either all is one part. getenv is os.Getenv.
func parseShard(flag string, getenv func(string) string) (shard, error) {
	if flag == "" {
		return environmentShard(0, getenv)
	}
	first, second, ok := strings.Cut(flag, "/")
	count, err := strconv.Atoi(second)
	if !ok || err != nil || count < 1 {
		return shard{}, fmt.Errorf("shard %q, expected I/N with I from 0 to N-1, or /N", flag)
	}
	if first == "" {
		return environmentShard(count, getenv)
	}
	index, err := strconv.Atoi(first)
	if err != nil || index < 0 || index >= count {
		return shard{}, fmt.Errorf("shard %q, expected I/N with I from 0 to N-1, or /N", flag)
	}
	return shard{index: index, count: count}, nil
}

// environmentShard finds a part's number in the variables of Slurm or Kubernetes. With a count the number is taken as it
// is, so that a lost part can be done again alone; without one it is counted within the array.
func environmentShard(count int, getenv func(string) string) (s shard, err error) {
	number := func(name string) int {
		text := getenv(name)
		n, convErr := strconv.Atoi(text)
		if convErr != nil && err == nil {
			err = fmt.Errorf("%s is %q, expected a number: set --shard I/N", name, text)
		}
		return n
	}
	const slurm, job = "SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX"
	switch {
	case getenv(slurm) != "" && count > 0:
		s = shard{number(slurm), count, slurm}
	case getenv(slurm) != "":
		first, step := 0, 1
		if getenv("SLURM_ARRAY_TASK_MIN") != "" {
			first = number("SLURM_ARRAY_TASK_MIN")
		}
		if getenv("SLURM_ARRAY_TASK_STEP") != "" {
			step = max(number("SLURM_ARRAY_TASK_STEP"), 1)
		}
		id := number(slurm)
		s = shard{(id - first) / step, number("SLURM_ARRAY_TASK_COUNT"), slurm}
		if err == nil && (id-first)%step != 0 {
			return s, fmt.Errorf("%s %d is not among the numbers from %d on in steps of %d: set --shard I/N", slurm, id, first, step)
		}
	case getenv(job) != "" && count > 0:
		s = shard{number(job), count, job}
	case getenv(job) != "":
		return s, fmt.Errorf("%s is %s, but nothing says of how many parts: set --shard /N, N being the job's completions", job, getenv(job))
	case count > 0:
		return s, fmt.Errorf("--shard /%d takes the part's number from %s or %s, and neither is set", count, slurm, job)
	default:
		return shard{index: 0, count: 1}, nil
	}
	if err == nil && (s.index < 0 || s.index >= s.count) {
		err = fmt.Errorf("%s says part %d of %d, expected 0 to %d: set --shard I/N where an array has gaps", s.source, s.index, s.count, s.count-1)
	}
	return s, err
}
