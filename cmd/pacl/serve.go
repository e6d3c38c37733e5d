package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/pacl/pacl"
	"github.com/pacl/pacl/serve"
)

// serveCommand offers models over HTTP.
type serveCommand struct {
	Models    []string `name:"model" short:"m" placeholder:"MODEL" help:"A model to serve, as MODEL or NAME=MODEL; may be given several times."`
	Vision    string   `placeholder:"ENCODER" help:"The vision encoder, as for pacl segment; of the one model."`
	Text      string   `placeholder:"ENCODER" help:"The text encoder in place of the models' own."`
	Readout   string   `enum:"naclip,plain,maskclip,sclip,clearclip," default:"" placeholder:"KIND" help:"Read-out of a CLIP without a head."`
	Precision string   `enum:"bf16,f32," default:"" placeholder:"TYPE" help:"Operands of products: bf16 or f32."`
	Tokenizer string   `placeholder:"DIR" help:"Where the tokenizer is, if not beside the weights."`

	Addr    string   `default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Where to listen. Only this machine is served unless another address is named."`
	Token   string   `env:"PACL_TOKEN" placeholder:"TOKEN" help:"Demand this bearer token; better in the variable PACL_TOKEN than in the process list."`
	Origin  []string `placeholder:"ORIGIN" help:"A web origin whose pages may use the service (CORS); none by default."`
	Host    []string `placeholder:"NAME" help:"Another name under which the service is reached, such as by a proxy on this machine."`
	TLSCert string   `name:"tls-cert" type:"existingfile" placeholder:"FILE" help:"Certificate chain in PEM; with --tls-key."`
	TLSKey  string   `name:"tls-key" type:"existingfile" placeholder:"FILE" help:"Private key in PEM."`

	MaxBytes   int64 `default:"33554432" placeholder:"BYTES" help:"Largest photo; default 32 MiB."`
	MaxPixels  int   `default:"50000000" placeholder:"N" help:"Largest photo in pixels; default 50 million."`
	MaxLabels  int   `default:"1000" placeholder:"N" help:"Most labels and synonyms of a request; default 1000."`
	MaxPatches int   `default:"20000" placeholder:"N" help:"Most patches of an encoding; default 20 000."`
	MaxSize    int   `default:"1344" placeholder:"N" help:"Largest short side that a request may have its photo encoded at; default 1344."`
	MaxBatch   int   `default:"8" placeholder:"N" help:"Most photos encoded together; default 8."`
	Queue      int   `default:"64" placeholder:"N" help:"Most requests that wait or run, 64 by default; others get status 429."`
	MaxClients int   `default:"1024" placeholder:"N" help:"Most connections that are open at once; default 1024."`
	MaxHeld    int64 `default:"536870912" placeholder:"BYTES" help:"All requests and answers that are held at once; default 512 MiB."`
	MaxDecoded int64 `default:"1073741824" placeholder:"BYTES" help:"All photos that are decoded at once; default 1 GiB."`
	Cache      int64 `default:"536870912" placeholder:"BYTES" help:"Photos and patch vectors that are kept; default 512 MiB."`

	ReadTimeout  time.Duration `default:"30s" placeholder:"TIME" help:"Time for a request to arrive; default 30s."`
	Timeout      time.Duration `default:"1m" placeholder:"TIME" help:"Time for one answer to be made; default 1m."`
	WriteTimeout time.Duration `default:"30s" placeholder:"TIME" help:"Time for an answer to leave; default 30s."`
	StopDelay    time.Duration `default:"300ms" placeholder:"TIME" help:"Time in which a service that was told to stop still takes requests, unready; default 300ms."`
	Drain        time.Duration `default:"1m" placeholder:"TIME" help:"Time for what was begun to be finished at a stop; default 1m."`
	LogJSON      bool          `name:"log-json" help:"Log lines of JSON."`
}

// Help follows the flags.
func (serveCommand) Help() string {
	return `Open the address in a browser for the page; /openapi.json describes the interface for programs.
Examples:
  pacl serve --model models/voc
  pacl serve --model small=models/voc --model large=org/clip --addr 0.0.0.0:8080
  curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' 'localhost:8080/v1/segment?labels=cat,dog&format=overlay' > overlay.png`
}

// Run listens until it is told to stop.
func (c *serveCommand) Run(s *session) error {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return usageError("--tls-cert and --tls-key belong together")
	}
	if err := c.checkLimits(); err != nil {
		return err
	}
	config := serve.Config{
		Token: c.Token, Origins: c.Origin, Hosts: c.Host,
		MaxBytes: c.MaxBytes, MaxPixels: c.MaxPixels, MaxLabels: c.MaxLabels, MaxPatches: c.MaxPatches, MaxSize: c.MaxSize,
		MaxBatch: c.MaxBatch, Queue: c.Queue, Clients: c.MaxClients,
		BodyBytes: c.MaxHeld, DecodedBytes: c.MaxDecoded, CacheBytes: c.Cache,
		ReadTimeout: c.ReadTimeout, RequestTimeout: c.Timeout, WriteTimeout: c.WriteTimeout, StopDelay: c.StopDelay, DrainTimeout: c.Drain,
	}
	if c.LogJSON {
		config.Log = slog.New(slog.NewJSONHandler(s.stderr, nil))
	} else {
		config.Log = slog.New(slog.NewTextHandler(s.stderr, nil))
	}
	if c.TLSCert != "" {
		certificate, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
		if err != nil {
			return fmt.Errorf("certificate %s: %w", c.TLSCert, err)
		}
		config.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	}
	models := c.Models
	if len(models) == 0 {
		models = []string{""}
	}
	for _, reference := range models {
		name, reference, named := cutName(reference)
		if !named {
			name = ""
		}
		model, err := pacl.Open(s, pacl.Options{
			Model: reference, Vision: c.Vision, Text: c.Text, Readout: c.Readout, Precision: c.Precision, Tokenizer: c.Tokenizer,
			Warn: func(message string) { s.logf("warning: %s", message) },
		})
		if err != nil {
			return err
		}
		config.Models = append(config.Models, serve.NewEngine(model, name))
	}
	listener, err := net.Listen("tcp", c.Addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	service, err := serve.New(config)
	if err != nil {
		listener.Close()
		return err
	}
	defer service.Close()
	if address, ok := listener.Addr().(*net.TCPAddr); ok && !address.IP.IsLoopback() && c.Token == "" {
		s.logf("warning: everybody who reaches %s may use this service: no token is set (PACL_TOKEN)", listener.Addr())
	}
	scheme := "http"
	if config.TLS != nil {
		scheme = "https"
	}
	s.logf("serving at %s://%s/", scheme, listener.Addr())
	return service.Serve(s, listener)
}

// checkLimits refuses limits that nothing could meet.
func (c *serveCommand) checkLimits() error {
	for _, limit := range []struct {
		flag  string
		value int64
	}{
		{"max-bytes", c.MaxBytes}, {"max-pixels", int64(c.MaxPixels)}, {"max-labels", int64(c.MaxLabels)},
		{"max-patches", int64(c.MaxPatches)}, {"max-size", int64(c.MaxSize)}, {"max-batch", int64(c.MaxBatch)},
		{"queue", int64(c.Queue)}, {"max-clients", int64(c.MaxClients)}, {"max-held", c.MaxHeld}, {"max-decoded", c.MaxDecoded},
		{"cache", c.Cache}, {"read-timeout", int64(c.ReadTimeout)}, {"timeout", int64(c.Timeout)},
		{"write-timeout", int64(c.WriteTimeout)}, {"stop-delay", int64(c.StopDelay)}, {"drain", int64(c.Drain)},
	} {
		if limit.value <= 0 {
			return usageError(fmt.Sprintf("--%s is %d, expected more than 0", limit.flag, limit.value))
		}
	}
	return nil
}

// cutName splits NAME=MODEL; a path that exists is never taken apart.
func cutName(reference string) (name, model string, named bool) {
	if _, err := os.Stat(reference); err == nil {
		return "", reference, false
	}
	if name, model, ok := strings.Cut(reference, "="); ok && name != "" && model != "" {
		return name, model, true
	}
	return "", reference, false
}
