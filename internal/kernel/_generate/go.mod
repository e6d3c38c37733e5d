module github.com/pacl/pacl/internal/kernel/_generate

go 1.26.0
