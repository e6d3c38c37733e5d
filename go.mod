module github.com/pacl/pacl

go 1.26
