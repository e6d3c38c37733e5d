package serve

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

type contextKey int

const requestIDKey contextKey = iota

// requestID is the number under which the log speaks of a request.
func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey).(string)
	return id
}

// recorder remembers what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(data []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(data)
	r.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// observed gives each request its number, contains its panics, counts it and logs it.
func (s *Server) observed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := time.Now()
		id := r.Header.Get("X-Request-Id")
		if !plainID(id) {
			id = rand.Text()
		}
		r = r.WithContext(context.WithValue(r.Context(), requestIDKey, id))
		w.Header().Set("X-Request-Id", id)
		if s.stopping.Load() {
			w.Header().Set("Connection", "close")
		}
		answer := &recorder{ResponseWriter: w}
		defer func() {
			if reason := recover(); reason != nil {
				s.metrics.panics.Inc()
				s.config.Log.Error("panic", "id", id, "reason", fmt.Sprint(reason), "stack", string(debug.Stack()))
				if answer.status != 0 {
					panic(http.ErrAbortHandler) // half an answer must not look like a whole one
				}
				writeFailure(answer, failureOf(r.Context(), fmt.Errorf("%v", reason)), id)
			}
			route := r.Pattern
			if route == "" {
				route = "none"
			}
			elapsed := time.Since(started)
			s.metrics.observe(route, answer.status, elapsed)
			level := slog.LevelInfo
			if r.Pattern == "GET /healthz" || r.Pattern == "GET /readyz" || r.Pattern == "GET /metrics" {
				level = slog.LevelDebug
			}
			s.config.Log.Log(r.Context(), level, "request", "id", id, "method", r.Method, "path", r.URL.Path, "status", answer.status,
				"bytes", answer.bytes, "ms", float64(elapsed.Microseconds())/1000, "remote", r.RemoteAddr)
		}()
		next.ServeHTTP(answer, r)
		if answer.status == 0 {
			answer.WriteHeader(http.StatusOK)
		}
	})
}

// plainID accepts numbers that a proxy in front gave, as long as they cannot do harm in a log.
func plainID(id string) bool {
	return id != "" && len(id) <= 64 && strings.IndexFunc(id, func(r rune) bool {
		return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("-_.", r))
	}) < 0
}

// guarded keeps out pages of other origins, requests for other hosts and, where a token is set, those without it.
func (s *Server) guarded(next http.Handler) (http.Handler, error) {
	protection := http.NewCrossOriginProtection()
	for _, origin := range s.config.Origins {
		if err := protection.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("serve: origin %q: %w", origin, err)
		}
	}
	digest := sha256.Sum256([]byte(s.config.Token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := requestID(r.Context())
		if s.loopback.Load() && !s.ownHost(r.Host) {
			writeFailure(w, fail(http.StatusMisdirectedRequest, "unknown_host",
				"host %s is not one that this service answers for (see --host)", quoted(r.Host)), id)
			return
		}
		if origin := r.Header.Get("Origin"); origin != "" && slices.Contains(s.config.Origins, origin) {
			header := w.Header()
			header.Set("Access-Control-Allow-Origin", origin)
			header.Add("Vary", "Origin")
			header.Set("Access-Control-Expose-Headers", "X-Request-Id, Retry-After")
			if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
				header.Set("Access-Control-Allow-Methods", "GET, POST, DELETE")
				header.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, X-Request-Id")
				header.Set("Access-Control-Max-Age", "600")
				w.WriteHeader(http.StatusNoContent)
				return
			}
		}
		if err := protection.Check(r); err != nil {
			writeFailure(w, fail(http.StatusForbidden, "cross_origin", "pages of other origins may not use this service"), id)
			return
		}
		if s.config.Token != "" && needsToken(r.URL.Path) {
			scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
			// Digests have one length, so that the comparison tells nothing about the token's.
			got := sha256.Sum256([]byte(token))
			if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(got[:], digest[:]) != 1 {
				writeFailure(w, fail(http.StatusUnauthorized, "unauthorized", "this needs the service's token"), id)
				return
			}
		}
		next.ServeHTTP(w, r)
	}), nil
}

func needsToken(path string) bool { return strings.HasPrefix(path, "/v1/") || path == "/metrics" }

// ownHost reports whether a Host header means this machine.
func (s *Server) ownHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.Trim(name, "[]")
	if ip := net.ParseIP(name); ip != nil {
		return true
	}
	return strings.EqualFold(name, "localhost") || slices.ContainsFunc(s.config.Hosts, func(own string) bool {
		return strings.EqualFold(own, name) || strings.EqualFold(own, host)
	})
}
